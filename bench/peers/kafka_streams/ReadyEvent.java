package checkpointready;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import java.nio.charset.StandardCharsets;
import java.time.Instant;

/** The ready event: a CloudEvents 1.0 envelope around an enriched checkpoint. */
@JsonPropertyOrder({"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "partitionkey", "data"})
public record ReadyEvent(
        String specversion,
        String id,
        String source,
        String type,
        String subject,
        String time,
        String datacontenttype,
        String dataschema,
        String partitionkey,
        Data data) {

    private static final String UNRESERVED = "-._~!$&'()*+,;=:@";

    static ReadyEvent of(Checkpoint checkpoint, Origin origin) {
        return new ReadyEvent(
                "1.0",
                checkpoint.id,
                source(checkpoint.jobId),
                "fine_tuning.job.checkpoint.ready",
                checkpoint.id,
                Instant.ofEpochSecond(checkpoint.createdAt).toString(),
                "application/json",
                "urn:checkpoint-ready:schema:ready-event:1",
                checkpoint.jobId,
                new Data(checkpoint, ModelName.of(checkpoint), Evaluation.of(checkpoint.metrics), origin));
    }

    private static String source(String jobId) {
        StringBuilder source = new StringBuilder(24 + jobId.length()).append("/fine_tuning/jobs/");
        for (int index = 0; index < jobId.length(); index++) {
            if (!isUnreserved(jobId.charAt(index))) {
                return source.append(percentEncoded(jobId)).toString();
            }
        }
        return source.append(jobId).toString();
    }

    private static boolean isUnreserved(char one) {
        return one >= 'a' && one <= 'z' || one >= 'A' && one <= 'Z' || one >= '0' && one <= '9' || UNRESERVED.indexOf(one) >= 0;
    }

    private static String percentEncoded(String text) {
        StringBuilder encoded = new StringBuilder();
        for (byte one : text.getBytes(StandardCharsets.UTF_8)) {
            if (isUnreserved((char) (one & 0xFF))) {
                encoded.append((char) one);
            } else {
                encoded.append(String.format("%%%02X", one & 0xFF));
            }
        }
        return encoded.toString();
    }

    public record Data(Checkpoint checkpoint, ModelName model, Evaluation evaluation, Origin origin) {}

    /** Where the source record is. */
    public record Origin(String topic, int partition, long offset, @JsonProperty("timestamp_ms") long timestampMs) {}

    /** The figures for comparing checkpoints. A figure is absent if it is unknown or not finite. */
    @JsonInclude(JsonInclude.Include.NON_NULL)
    @JsonPropertyOrder({"loss", "metric", "perplexity", "generalization_gap"})
    public record Evaluation(
            Double loss, String metric, Double perplexity, @JsonProperty("generalization_gap") Double generalizationGap) {

        static Evaluation of(Checkpoint.Metrics metrics) {
            Double trainLoss = measured(metrics.trainLoss, metrics.trainAccuracy);
            Double validLoss = measured(metrics.fullValidLoss, metrics.fullValidAccuracy);
            String metric = "full_valid_loss";
            if (validLoss == null) {
                validLoss = measured(metrics.validLoss, metrics.validAccuracy);
                metric = "valid_loss";
            }
            if (validLoss == null) {
                return trainLoss == null
                        ? new Evaluation(null, null, null, null)
                        : new Evaluation(trainLoss, "train_loss", finite(Math.exp(trainLoss)), null);
            }
            Double gap = trainLoss == null ? null : finite(validLoss - trainLoss);
            return new Evaluation(validLoss, metric, finite(Math.exp(validLoss)), gap);
        }

        /** Returns the loss, or null if both are 0: some SDKs write 0 for a missing number. */
        private static Double measured(Double loss, Double accuracy) {
            return loss != null && loss == 0 && accuracy != null && accuracy == 0 ? null : loss;
        }

        private static Double finite(double number) {
            return Double.isFinite(number) ? number : null;
        }
    }
}
