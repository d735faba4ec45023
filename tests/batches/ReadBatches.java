// Reads record batches with the code of the Java consumer, as an oracle for our own reader.
//
// Input: one file of fetched bytes a line, in hex. Output: one line of JSON a line of input,
// {"records": [[offset, timestamp, key, value, [[header name, header value], ...]], ...],
//  "error": the class of the exception that ended the reading, or null}, all bytes in hex.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.Iterator;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.CloseableIterator;

public class ReadBatches {
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(read(HEX.parseHex(line)));
        }
        out.flush();
    }

    private static String read(byte[] fetched) {
        StringBuilder json = new StringBuilder("{\"records\":[");
        String error = "null";
        try {
            MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(fetched));
            for (RecordBatch batch : records.batches()) {
                batch.ensureValid();
                if (batch.isControlBatch()) {
                    continue;
                }
                try (CloseableIterator<Record> each = batch.streamingIterator(BufferSupplier.create())) {
                    while (each.hasNext()) {
                        Record record = each.next();
                        record.ensureValid();
                        json.append(json.charAt(json.length() - 1) == '[' ? "" : ",").append(describe(record));
                    }
                }
            }
        } catch (Throwable thrown) {
            error = '"' + thrown.getClass().getSimpleName() + '"';
        }
        return json.append("],\"error\":").append(error).append('}').toString();
    }

    private static String describe(Record record) {
        StringBuilder headers = new StringBuilder("[");
        for (Header header : record.headers()) {
            headers.append(headers.length() == 1 ? "" : ",");
            byte[] name = header.key().getBytes(java.nio.charset.StandardCharsets.UTF_8);
            headers.append("[\"").append(HEX.formatHex(name)).append("\",").append(hex(header.value())).append(']');
        }
        return "[" + record.offset() + "," + record.timestamp() + "," + hex(bytes(record.key())) + ","
            + hex(bytes(record.value())) + "," + headers + "]]";
    }

    private static byte[] bytes(ByteBuffer buffer) {
        if (buffer == null) {
            return null;
        }
        byte[] content = new byte[buffer.remaining()];
        buffer.get(content);
        return content;
    }

    private static String hex(byte[] content) {
        return content == null ? "null" : '"' + HEX.formatHex(content) + '"';
    }
}
