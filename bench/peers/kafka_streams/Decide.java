package checkpointready;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Decodes a record, drops it if its id is in the store, and forwards its ready event otherwise. */
final class Decide implements Processor<byte[], byte[], byte[], byte[]> {
    static final String STORE = "published";
    static final String READY_SINK = "ready";
    static final String DEAD_LETTER_SINK = "dead-letters";
    private static final byte[] CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8".getBytes(StandardCharsets.UTF_8);

    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<String, Long> published;

    @Override
    public void init(ProcessorContext<byte[], byte[]> newContext) {
        context = newContext;
        published = newContext.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        Checkpoint checkpoint;
        String problem;
        try {
            checkpoint = record.value() == null ? null : Json.checkpoint(record.value());
            problem = checkpoint == null ? "the record has no value" : checkpoint.problem();
        } catch (IOException error) {
            checkpoint = null;
            problem = error.getMessage();
        }
        ReadyEvent.Origin origin = origin(record);
        if (problem != null) {
            context.forward(record.withHeaders(deadLetterHeaders(record.headers(), problem, origin)), DEAD_LETTER_SINK);
            return;
        }
        if (published.putIfAbsent(checkpoint.id, record.timestamp()) != null) {
            return;
        }
        byte[] value;
        try {
            value = Json.bytes(ReadyEvent.of(checkpoint, origin));
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        Headers headers = new RecordHeaders().add("content-type", CONTENT_TYPE);
        byte[] key = checkpoint.jobId.getBytes(StandardCharsets.UTF_8);
        context.forward(new Record<>(key, value, record.timestamp(), headers), READY_SINK);
    }

    /** Returns where the source record is: after a repartition step a header says it. */
    private ReadyEvent.Origin origin(Record<byte[], byte[]> record) {
        Header header = record.headers().lastHeader(AddIdKey.ORIGIN_HEADER);
        if (header == null) {
            var metadata = context.recordMetadata().orElseThrow();
            return new ReadyEvent.Origin(metadata.topic(), metadata.partition(), metadata.offset(), record.timestamp());
        }
        ByteBuffer packed = ByteBuffer.wrap(header.value());
        int partition = packed.getInt();
        long offset = packed.getLong();
        long timestamp = packed.getLong();
        return new ReadyEvent.Origin(StandardCharsets.UTF_8.decode(packed).toString(), partition, offset, timestamp);
    }

    private static Headers deadLetterHeaders(Headers headers, String problem, ReadyEvent.Origin origin) {
        return new RecordHeaders(headers)
                .add("error", problem.getBytes(StandardCharsets.UTF_8))
                .add("origin-topic", origin.topic().getBytes(StandardCharsets.UTF_8))
                .add("origin-partition", Integer.toString(origin.partition()).getBytes(StandardCharsets.UTF_8))
                .add("origin-offset", Long.toString(origin.offset()).getBytes(StandardCharsets.UTF_8));
    }
}
