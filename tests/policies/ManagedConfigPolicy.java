import java.util.Map;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.server.policy.AlterConfigPolicy;

/**
 * Refuses changes of the topic settings that MSK Serverless refuses.
 *
 * <p>MSK Serverless also refuses each change of cleanup.policy. This class cannot, because a KRaft
 * controller also calls it for the settings of a new topic.
 */
public final class ManagedConfigPolicy implements AlterConfigPolicy {
    @Override
    public void configure(Map<String, ?> configs) {}

    @Override
    public void validate(RequestMetadata request) {
        ConfigResource resource = request.resource();
        if (resource.type() == ConfigResource.Type.TOPIC
                && !ManagedTopicPolicy.isInternal(resource.name())) {
            request.configs().keySet().forEach(ManagedTopicPolicy::allow);
        }
    }

    @Override
    public void close() {}
}
