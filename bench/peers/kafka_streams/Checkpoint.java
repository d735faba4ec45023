package checkpointready;

import com.fasterxml.jackson.annotation.JsonAlias;
import com.fasterxml.jackson.annotation.JsonAnyGetter;
import com.fasterxml.jackson.annotation.JsonAnySetter;
import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import java.util.HashMap;
import java.util.Map;

/** A checkpoint in both spellings. Fields that are not in the contract are kept. */
@JsonPropertyOrder(alphabetic = true)
public final class Checkpoint {
    static final String OBJECT = "fine_tuning.job.checkpoint";

    @JsonProperty("base_model") @JsonAlias("baseModel") @JsonInclude(JsonInclude.Include.NON_NULL) public String baseModel;
    @JsonProperty("created_at") @JsonAlias("createdAt") public Long createdAt;
    @JsonProperty("expires_at") @JsonAlias("expiresAt") @JsonInclude(JsonInclude.Include.NON_NULL) public Long expiresAt;
    @JsonProperty("fine_tuned_model_checkpoint") @JsonAlias("fineTunedModelCheckpoint") public String model;
    @JsonProperty("fine_tuning_job_id") @JsonAlias("fineTuningJobId") public String jobId;
    public String id;
    public Metrics metrics;
    public String object;
    @JsonInclude(JsonInclude.Include.NON_NULL) public String provider;
    @JsonProperty("step_number") @JsonAlias("stepNumber") public Long stepNumber;
    @JsonInclude(JsonInclude.Include.NON_NULL) public String uri;

    private Map<String, Object> others;

    @JsonAnySetter
    public void addOther(String name, Object value) {
        if (others == null) {
            others = new HashMap<>();
        }
        others.put(name, value);
    }

    @JsonAnyGetter
    public Map<String, Object> others() {
        return others;
    }

    /** Returns what is wrong with the checkpoint, or null if it is valid. */
    String problem() {
        if (!OBJECT.equals(object)) {
            return "object is not " + OBJECT;
        }
        if (id == null || id.isEmpty() || jobId == null || jobId.isEmpty()) {
            return "id or fine_tuning_job_id is missing";
        }
        if (createdAt == null || model == null || metrics == null || stepNumber == null) {
            return "a required field is missing";
        }
        if (isEmpty(provider) || isEmpty(baseModel) || isEmpty(uri)) {
            return "provider, base_model or uri is empty";
        }
        return null;
    }

    private static boolean isEmpty(String text) {
        return text != null && text.isEmpty();
    }

    /** The metrics at the step. Each number may be missing. */
    @JsonPropertyOrder(alphabetic = true)
    @JsonInclude(JsonInclude.Include.NON_NULL)
    public static final class Metrics {
        @JsonProperty("full_valid_loss") @JsonAlias("fullValidLoss") public Double fullValidLoss;
        @JsonProperty("full_valid_mean_token_accuracy") @JsonAlias("fullValidMeanTokenAccuracy") public Double fullValidAccuracy;
        public Number step;
        @JsonProperty("train_loss") @JsonAlias("trainLoss") public Double trainLoss;
        @JsonProperty("train_mean_token_accuracy") @JsonAlias("trainMeanTokenAccuracy") public Double trainAccuracy;
        @JsonProperty("valid_loss") @JsonAlias("validLoss") public Double validLoss;
        @JsonProperty("valid_mean_token_accuracy") @JsonAlias("validMeanTokenAccuracy") public Double validAccuracy;

        private Map<String, Object> others;

        @JsonAnySetter
        public void addOther(String name, Object value) {
            if (others == null) {
                others = new HashMap<>();
            }
            others.put(name, value);
        }

        @JsonAnyGetter
        public Map<String, Object> others() {
            return others;
        }
    }
}
