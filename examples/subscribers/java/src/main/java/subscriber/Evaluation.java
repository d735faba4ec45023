package subscriber;

import io.cloudevents.CloudEvent;
import io.cloudevents.core.provider.EventFormatProvider;
import io.cloudevents.jackson.JsonFormat;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.ProcessBuilder.Redirect;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** Runs a shell command for each event, with the event as JSON on its standard input. */
final class Evaluation {
    private final String command;
    private final Duration timeout;

    /** A command that is empty disables the evaluation. */
    Evaluation(String command, Duration timeout) {
        this.command = command;
        this.timeout = timeout;
    }

    boolean isEnabled() {
        return !command.isEmpty();
    }

    /** Waits for the end of the command. An exit code other than 0 is a failure. */
    void run(CloudEvent event) {
        if (!isEnabled()) {
            return;
        }
        var json = EventFormatProvider.getInstance()
                .resolveFormat(JsonFormat.CONTENT_TYPE)
                .serialize(event);
        try {
            var process = start();
            // In a thread: a large event blocks while the command does not read it.
            var writer = new Thread(() -> write(process.getOutputStream(), json));
            writer.setDaemon(true);
            writer.start();
            if (!process.waitFor(timeout.toSeconds(), TimeUnit.SECONDS)) {
                process.descendants().forEach(ProcessHandle::destroyForcibly);
                process.destroyForcibly();
                throw new HandlingFailedException("the evaluation of " + event.getId() + " took longer than " + timeout);
            }
            if (process.exitValue() != 0) {
                throw new HandlingFailedException(
                        "the evaluation of " + event.getId() + " failed with exit code " + process.exitValue());
            }
        } catch (IOException error) {
            throw new HandlingFailedException("the evaluation command could not be started: " + error.getMessage());
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new HandlingFailedException("the evaluation of " + event.getId() + " was interrupted");
        }
    }

    private Process start() throws IOException {
        // Standard output belongs to the lines of this program.
        return new ProcessBuilder("/bin/sh", "-c", "exec 1>&2; " + command)
                .redirectOutput(Redirect.INHERIT)
                .redirectError(Redirect.INHERIT)
                .start();
    }

    private static void write(OutputStream input, byte[] json) {
        try (input) {
            input.write(json);
        } catch (IOException ignored) {
            // The command does not read its input. Its exit code says whether it succeeded.
        }
    }
}
