package subscriber;

import io.cloudevents.CloudEvent;
import io.cloudevents.kafka.KafkaMessageFactory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads checkpoint ready events and prints one JSON line for each event. If EVALUATION_COMMAND is
 * set, it also runs this command for each event.
 */
public final class Subscriber implements AutoCloseable {
    private static final String READY_TYPE = "fine_tuning.job.checkpoint.ready";
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(10);
    private static final Duration POLL_TIMEOUT = Duration.ofSeconds(1);
    private static final int REMEMBERED_IDS = 100_000;

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Evaluation evaluation;
    private final boolean everyCopy;
    private final Set<String> handledIds = newestIds();
    private final Map<TopicPartition, OffsetAndMetadata> handledOffsets = new HashMap<>();
    private volatile boolean isStopping;

    private Subscriber(String servers, String isolation) throws IOException {
        everyCopy = !isolation.equals("read_committed");
        var evaluationTimeout = Duration.ofSeconds(Long.parseLong(environment("EVALUATION_TIMEOUT_SECONDS", "600")));
        evaluation = new Evaluation(environment("EVALUATION_COMMAND", ""), evaluationTimeout);
        var settings = fileSettings(environment("KAFKA_PROPERTIES_FILE", ""));
        settings.put("bootstrap.servers", servers);
        settings.put("group.id", environment("GROUP_ID", "model-registry-java"));
        // The service writes the events of a transaction to the log before it commits. If the
        // service crashes, these events stay in the log as aborted, and they are published again
        // later. A read_committed consumer does not see them. The default is read_uncommitted.
        if (!isolation.equals("client_default")) {
            settings.put("isolation.level", isolation);
        }
        settings.put("auto.offset.reset", "earliest");
        settings.put("allow.auto.create.topics", "false");
        settings.put("enable.auto.commit", "false"); // commits are made after the handling
        // A longer wait can delay an event of another partition.
        settings.put("fetch.max.wait.ms", "20");
        // The time for the evaluations between two polls is max.poll.interval.ms.
        settings.put("max.poll.records", evaluation.isEnabled() ? "1" : "100");
        settings.put("max.poll.interval.ms", Long.toString(2 * evaluationTimeout.toMillis() + 60_000));
        consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    public static void main(String[] arguments) {
        var servers = environment("BOOTSTRAP_SERVERS", "localhost:9092");
        var isolation = environment("ISOLATION_LEVEL", "read_committed");
        if (!Set.of("read_committed", "read_uncommitted", "client_default").contains(isolation)) {
            System.err.println("ISOLATION_LEVEL must be read_committed or read_uncommitted, not " + isolation);
            System.exit(2);
        }
        var exitCode = 0;
        var main = Thread.currentThread();
        try (var subscriber = new Subscriber(servers, isolation)) {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> subscriber.stop(main)));
            subscriber.run(environment("TOPIC", "fine-tuning.checkpoint-ready"));
        } catch (TimeoutException error) {
            System.err.println("no broker answers at " + servers + ": " + error.getMessage());
            exitCode = 1;
        } catch (HandlingFailedException error) {
            System.err.println(error.getMessage());
            exitCode = 1;
        } catch (KafkaException | IOException | NumberFormatException error) {
            System.err.println(error + (error.getCause() == null ? "" : ": " + error.getCause()));
            exitCode = 1;
        }
        // After SIGTERM the JVM would exit with code 143.
        Runtime.getRuntime().halt(exitCode);
    }

    /** Polls until SIGTERM or SIGINT. Then it finishes the event in hand and commits. */
    private void run(String topic) {
        try {
            if (consumer.partitionsFor(topic, CONNECT_TIMEOUT).isEmpty()) {
                throw new KafkaException("the topic " + topic + " does not exist");
            }
            consumer.subscribe(List.of(topic));
            while (!isStopping) {
                for (var record : consumer.poll(POLL_TIMEOUT)) {
                    handle(record);
                    handledOffsets.put(
                            new TopicPartition(record.topic(), record.partition()),
                            new OffsetAndMetadata(record.offset() + 1));
                    if (isStopping) {
                        break;
                    }
                }
                commit();
            }
        } catch (WakeupException stopped) {
            // The signal ended the wait for a broker. close commits.
        }
    }

    /** Commits what is handled, and leaves the group. An event that failed is delivered again. */
    @Override
    public void close() {
        try {
            commit();
        } catch (WakeupException stopped) {
            commit(); // the signal came just before the commit
        } finally {
            consumer.close();
        }
    }

    private void commit() {
        try {
            consumer.commitSync(handledOffsets);
        } catch (CommitFailedException | RebalanceInProgressException error) {
            // Another member may have the partitions now, and gets these events again.
            System.err.println("handled events are not committed, because the group rebalances: " + handledOffsets);
        }
        handledOffsets.clear();
    }

    /** Asks the main thread to stop. The JVM would end when this returns, so it waits. */
    private void stop(Thread main) {
        isStopping = true;
        consumer.wakeup();
        try {
            main.join();
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    /**
     * Handles an event. It is idempotent by id, because Kafka delivers an event again if the program
     * ends before the commit. The ids in memory cover one process. Your own handler keeps them with
     * its results, for example as a unique key in its database.
     */
    private void handle(ConsumerRecord<byte[], byte[]> record) {
        CloudEvent event;
        String line;
        try {
            event = KafkaMessageFactory.createReader(record).toEvent(); // both content modes
            if (!event.getType().equals(READY_TYPE) || (!everyCopy && handledIds.contains(event.getId()))) {
                return;
            }
            line = ReadyLine.of(event, record.partition(), record.offset());
        } catch (RuntimeException | ReadyLine.NoCheckpointException error) {
            // Not only CloudEventRWException: some records cause other exceptions in the SDK.
            System.err.printf("skipped the record at %d:%d: %s%n", record.partition(), record.offset(), error);
            return;
        }
        evaluation.run(event);
        System.out.println(line);
        if (System.out.checkError()) { // println throws no exception
            throw new HandlingFailedException("standard output failed");
        }
        handledIds.add(event.getId());
    }

    /** Returns the settings of a properties file, for example those for TLS and SASL. */
    private static Properties fileSettings(String file) throws IOException {
        var settings = new Properties();
        if (!file.isEmpty()) {
            try (var reader = Files.newBufferedReader(Path.of(file))) {
                settings.load(reader);
            }
        }
        return settings;
    }

    private static Set<String> newestIds() {
        return Collections.newSetFromMap(new LinkedHashMap<String, Boolean>() {
            private static final long serialVersionUID = 1L;

            @Override
            protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
                return size() > REMEMBERED_IDS;
            }
        });
    }

    private static String environment(String name, String otherwise) {
        var value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }
}
