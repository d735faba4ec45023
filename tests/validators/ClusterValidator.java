import java.io.IOException;
import java.util.Map;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerExtensionsValidatorCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler;

/**
 * Kafka's own validator, which also needs the two SASL extensions that Confluent Cloud needs.
 *
 * <p>Kafka's validator accepts each extension, so it does not show whether a client sends them.
 */
public final class ClusterValidator extends OAuthBearerValidatorCallbackHandler {
    private static final Map<String, String> NEEDED =
            Map.of("logicalCluster", "lkc-1", "identityPoolId", "pool-1");

    @Override
    public void handle(Callback[] callbacks) throws IOException, UnsupportedCallbackException {
        super.handle(callbacks);
        for (Callback callback : callbacks) {
            if (callback instanceof OAuthBearerExtensionsValidatorCallback extensions) {
                check(extensions);
            }
        }
    }

    private static void check(OAuthBearerExtensionsValidatorCallback callback) {
        Map<String, String> sent = callback.inputExtensions().map();
        NEEDED.forEach(
                (name, value) -> {
                    if (!value.equals(sent.get(name))) {
                        callback.error(name, sent.containsKey(name) ? "unknown" : "missing");
                    }
                });
    }
}
