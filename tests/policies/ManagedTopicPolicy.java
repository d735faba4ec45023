import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.CreateTopicPolicy;

/** Refuses the topic settings that MSK Serverless refuses when a topic is created. */
public final class ManagedTopicPolicy implements CreateTopicPolicy {
    static final Set<String> ALLOWED =
            Set.of(
                    "cleanup.policy",
                    "compression.type",
                    "max.message.bytes",
                    "message.timestamp.type",
                    "retention.bytes",
                    "retention.ms");
    static final long MOST_MESSAGE_BYTES = 8 * 1024 * 1024;

    @Override
    public void configure(Map<String, ?> configs) {}

    @Override
    public void validate(RequestMetadata request) {
        Map<String, String> configs = request.configs();
        if (configs == null || isInternal(request.topic())) {
            return;
        }
        configs.keySet().forEach(ManagedTopicPolicy::allow);
        String bytes = configs.get("max.message.bytes");
        if (bytes != null && Long.parseLong(bytes) > MOST_MESSAGE_BYTES) {
            throw new PolicyViolationException("max.message.bytes is too large.");
        }
    }

    /** The brokers create their own topics with more settings, and ask the policies too. */
    static boolean isInternal(String topic) {
        return topic.startsWith("__");
    }

    static void allow(String setting) {
        if (!ALLOWED.contains(setting)) {
            throw new PolicyViolationException(
                    "Config property '" + setting + "' is not allowed.");
        }
    }

    @Override
    public void close() {}
}
