package subscriber;

import io.cloudevents.CloudEvent;
import io.cloudevents.core.provider.EventFormatProvider;
import io.cloudevents.jackson.JsonFormat;
import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** Runs a shell command for each event, with the event as JSON on its standard input. */
final class Evaluation {
    static final Duration TIMEOUT = Duration.ofMinutes(10);

    private final String command;

    /** A command that is null or empty disables the evaluation. */
    Evaluation(String command) {
        this.command = command == null ? "" : command;
    }

    boolean isEnabled() {
        return !command.isEmpty();
    }

    /** Waits for the end of the command. An exit code other than 0 is a failure. */
    void run(CloudEvent event) {
        if (!isEnabled()) {
            return;
        }
        try {
            // Standard output belongs to the lines of this program.
            var process = new ProcessBuilder("/bin/sh", "-c", "exec 1>&2; " + command)
                    .redirectOutput(Redirect.INHERIT)
                    .redirectError(Redirect.INHERIT)
                    .start();
            try (var input = process.getOutputStream()) {
                input.write(
                        EventFormatProvider.getInstance()
                                .resolveFormat(JsonFormat.CONTENT_TYPE)
                                .serialize(event));
            } catch (IOException ignored) {
                // The command does not read its input. Its exit code says whether it succeeded.
            }
            if (!process.waitFor(TIMEOUT.toSeconds(), TimeUnit.SECONDS)) {
                process.destroyForcibly();
                throw new FailedException("the evaluation of " + event.getId() + " took longer than " + TIMEOUT);
            }
            if (process.exitValue() != 0) {
                throw new FailedException(
                        "the evaluation of " + event.getId() + " failed with exit code " + process.exitValue());
            }
        } catch (IOException error) {
            throw new FailedException("the evaluation command could not be started: " + error.getMessage());
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new FailedException("the evaluation of " + event.getId() + " was interrupted");
        }
    }

    /** An evaluation failed. Its event is not committed, so Kafka delivers it again after a restart. */
    static final class FailedException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        FailedException(String message) {
            super(message);
        }
    }
}
