package checkpointready;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/** Gives each record its id as the key, for the repartition step, and keeps where it came from. */
final class AddIdKey implements Processor<byte[], byte[], byte[], byte[]> {
    static final String ORIGIN_HEADER = "origin";
    private static final byte[] NO_ID = {};

    private ProcessorContext<byte[], byte[]> context;

    @Override
    public void init(ProcessorContext<byte[], byte[]> newContext) {
        context = newContext;
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        String id = Json.id(record.value());
        var metadata = context.recordMetadata().orElseThrow();
        byte[] topic = metadata.topic().getBytes(StandardCharsets.UTF_8);
        byte[] origin = ByteBuffer.allocate(20 + topic.length)
                .putInt(metadata.partition())
                .putLong(metadata.offset())
                .putLong(record.timestamp())
                .put(topic)
                .array();
        record.headers().add(ORIGIN_HEADER, origin);
        // A record without an id becomes a dead letter after the repartition step.
        context.forward(record.withKey(id == null ? NO_ID : id.getBytes(StandardCharsets.UTF_8)));
    }
}
