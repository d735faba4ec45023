package subscriber;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import java.io.IOException;

/** The line that is printed for an event. It ignores members of the event that it does not know. */
final class ReadyLine {
    private static final ObjectMapper JSON = new ObjectMapper();

    private ReadyLine() {}

    static String of(CloudEvent event, int partition, long offset) throws NoCheckpointException {
        var data = parse(event);
        var checkpoint = data.path("checkpoint");
        if (!checkpoint.isObject()) {
            throw new NoCheckpointException("the data has no checkpoint");
        }
        var line = JSON.createObjectNode();
        line.put("id", event.getId());
        line.set("job", checkpoint.get("fine_tuning_job_id"));
        line.set("step", checkpoint.get("step_number"));
        line.set("model", checkpoint.get("fine_tuned_model_checkpoint"));
        line.set("loss", data.path("evaluation").get("loss")); // null: it is not known
        line.put("partition", partition);
        line.put("offset", offset);
        // Only an event that was published again has it.
        if (event.getExtension("replayid") instanceof String replayId) {
            line.put("replayid", replayId);
        }
        return line.toString();
    }

    private static JsonNode parse(CloudEvent event) throws NoCheckpointException {
        if (event.getData() == null) {
            throw new NoCheckpointException("the event has no data");
        }
        try {
            return JSON.readTree(event.getData().toBytes());
        } catch (IOException error) {
            throw new NoCheckpointException("the data is not JSON");
        }
    }

    /** An event of the right type without a checkpoint. */
    static final class NoCheckpointException extends Exception {
        private static final long serialVersionUID = 1L;

        NoCheckpointException(String message) {
            super(message);
        }
    }
}
