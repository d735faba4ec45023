import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.cloudevents.CloudEvent;
import io.cloudevents.CloudEventData;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.core.data.BytesCloudEventData;
import io.cloudevents.core.message.Encoding;
import io.cloudevents.jackson.JsonCloudEventData;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.CloudEventDeserializer;
import io.cloudevents.kafka.CloudEventSerializer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.OffsetDateTime;
import java.util.Base64;
import java.util.Map;
import org.apache.kafka.common.header.internals.RecordHeaders;

/**
 * Reads and writes CloudEvents in Kafka records with the CloudEvents SDK for Java, by its
 * deserializer and serializer of Kafka.
 *
 * <p>The argument is {@code read} or {@code write}. Standard input and output are JSON lines;
 * {@code tests/cloudevents/sdks.py} describes them.
 */
public final class Sdk {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final String TOPIC = "topic";

    private Sdk() {}

    public static void main(String[] arguments) throws IOException {
        boolean isRead = arguments[0].equals("read");
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            JsonNode request = MAPPER.readTree(line);
            System.out.println(MAPPER.writeValueAsString(isRead ? read(request) : write(request)));
        }
    }

    /** Returns the attributes and the data of the event in a record. */
    private static ObjectNode read(JsonNode record) throws IOException {
        var headers = new RecordHeaders();
        for (JsonNode header : record.get("headers")) {
            headers.add(header.get(0).asText(), bytes(header.get(1)));
        }
        CloudEvent event;
        try (var deserializer = new CloudEventDeserializer()) {
            event = deserializer.deserialize(TOPIC, headers, bytes(record.get("value")));
        }
        ObjectNode attributes = MAPPER.createObjectNode();
        for (String name : event.getAttributeNames()) {
            attributes.put(name, event.getAttribute(name).toString());
        }
        for (String name : event.getExtensionNames()) {
            attributes.put(name, event.getExtension(name).toString());
        }
        ObjectNode found = MAPPER.createObjectNode();
        found.set("attributes", attributes);
        found.set("data", MAPPER.readTree(event.getData().toBytes()));
        return found;
    }

    /** Returns a record with an event that has these attributes and this data. */
    private static ObjectNode write(JsonNode request) throws IOException {
        CloudEventBuilder builder = CloudEventBuilder.v1().withData(data(request));
        request.get("attributes").fields().forEachRemaining(attribute -> {
            String text = attribute.getValue().asText();
            switch (attribute.getKey()) {
                case "id" -> builder.withId(text);
                case "source" -> builder.withSource(URI.create(text));
                case "type" -> builder.withType(text);
                case "time" -> builder.withTime(OffsetDateTime.parse(text));
                case "datacontenttype" -> builder.withDataContentType(text);
                default -> builder.withExtension(attribute.getKey(), text);
            }
        });
        boolean isStructured = request.get("mode").asText().equals("structured");
        Map<String, Object> settings = isStructured
            ? Map.of(
                CloudEventSerializer.ENCODING_CONFIG, Encoding.STRUCTURED,
                CloudEventSerializer.EVENT_FORMAT_CONFIG, JsonFormat.CONTENT_TYPE)
            : Map.of(CloudEventSerializer.ENCODING_CONFIG, Encoding.BINARY);
        var headers = new RecordHeaders();
        ObjectNode record = MAPPER.createObjectNode();
        try (var serializer = new CloudEventSerializer()) {
            serializer.configure(settings, false);
            record.put("value", base64(serializer.serialize(TOPIC, headers, builder.build())));
        }
        record.putNull("key"); // The program chooses the key, not the serializer of the value.
        var written = record.putArray("headers");
        headers.forEach(header -> written.addArray().add(header.key()).add(base64(header.value())));
        return record;
    }

    private static CloudEventData data(JsonNode request) throws IOException {
        byte[] content = bytes(request.get("data"));
        return request.get("form").asText().equals("object")
            ? JsonCloudEventData.wrap(MAPPER.readTree(content))
            : BytesCloudEventData.wrap(content);
    }

    private static byte[] bytes(JsonNode text) {
        return text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }

    private static String base64(byte[] content) {
        return content == null ? null : Base64.getEncoder().encodeToString(content);
    }
}
