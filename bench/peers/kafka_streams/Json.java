package checkpointready;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.module.blackbird.BlackbirdModule;
import java.io.IOException;

/** One Jackson mapper for the program, with generated accessors and fast conversion of numbers. */
final class Json {
    private static final JsonMapper MAPPER = JsonMapper.builder()
            .enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER)
            .enable(StreamWriteFeature.USE_FAST_DOUBLE_WRITER)
            .addModule(new BlackbirdModule())
            .build();
    private static final ObjectReader CHECKPOINT = MAPPER.readerFor(Checkpoint.class);
    private static final ObjectWriter READY_EVENT = MAPPER.writerFor(ReadyEvent.class);

    private Json() {}

    static Checkpoint checkpoint(byte[] value) throws IOException {
        return CHECKPOINT.readValue(value);
    }

    static byte[] bytes(ReadyEvent event) throws IOException {
        return READY_EVENT.writeValueAsBytes(event);
    }

    /** Returns the checkpoint's id without building the other fields, or null if there is none. */
    static String id(byte[] value) {
        if (value == null) {
            return null;
        }
        try (JsonParser parser = MAPPER.createParser(value)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                return null;
            }
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                boolean isId = "id".equals(parser.currentName());
                JsonToken token = parser.nextToken();
                if (isId) {
                    return token == JsonToken.VALUE_STRING ? parser.getText() : null;
                }
                parser.skipChildren();
            }
            return null;
        } catch (IOException error) {
            return null;
        }
    }
}
