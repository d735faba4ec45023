package checkpointready;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The job of checkpoint-ready as a Kafka Streams application. Its argument is a properties file. Names that
 * begin with "job." configure this program, the others configure Kafka Streams.
 */
public final class CheckpointReadyStreams {
    private static final String DECIDE = "decide";
    private static final Duration CLOSE = Duration.ofSeconds(15);

    private CheckpointReadyStreams() {}

    public static void main(String[] arguments) throws IOException {
        Properties properties = new Properties();
        try (Reader file = Files.newBufferedReader(Path.of(arguments[0]))) {
            properties.load(file);
        }
        properties.setProperty(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        KafkaStreams streams = new KafkaStreams(topology(properties), properties);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            System.out.println("state " + now);
            if (now == KafkaStreams.State.ERROR) {
                Runtime.getRuntime().halt(1);
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(CLOSE)));
        streams.start();
    }

    private static Topology topology(Properties properties) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<byte[], byte[]> records =
                builder.stream(properties.getProperty("job.input"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()));
        if (Boolean.parseBoolean(properties.getProperty("job.repartition"))) {
            records = records.process(AddIdKey::new)
                    .repartition(Repartitioned.<byte[], byte[]>as("by-id")
                            .withKeySerde(Serdes.ByteArray())
                            .withValueSerde(Serdes.ByteArray())
                            .withNumberOfPartitions(Integer.parseInt(properties.getProperty("job.partitions"))));
        }
        builder.addStateStore(store(properties.getProperty("job.store")));
        records.process(Decide::new, Named.as(DECIDE), Decide.STORE);
        Topology topology = builder.build(properties);
        addSink(topology, Decide.READY_SINK, properties.getProperty("job.output"));
        addSink(topology, Decide.DEAD_LETTER_SINK, properties.getProperty("job.dead-letters"));
        return topology;
    }

    private static StoreBuilder<KeyValueStore<String, Long>> store(String kind) {
        var supplier = "rocksdb".equals(kind)
                ? Stores.persistentKeyValueStore(Decide.STORE)
                : Stores.inMemoryKeyValueStore(Decide.STORE);
        return Stores.keyValueStoreBuilder(supplier, Serdes.String(), Serdes.Long());
    }

    private static void addSink(Topology topology, String name, String topic) {
        topology.addSink(name, topic, new ByteArraySerializer(), new ByteArraySerializer(), DECIDE);
    }
}
