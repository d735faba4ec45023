package checkpointready;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The parsed model name of a checkpoint. */
@JsonPropertyOrder({"provider", "base_model", "organization", "suffix", "step", "is_final"})
public record ModelName(
        String provider,
        @JsonProperty("base_model") String baseModel,
        String organization,
        String suffix,
        Long step,
        @JsonProperty("is_final") boolean isFinal) {

    private static final Pattern OPENAI =
            Pattern.compile("ft:([^:]+):([^:]*):([^:]*):(?!ckpt-step-)[^:]+(?::ckpt-step-([0-9]{1,18}))?");
    private static final Pattern AZURE = Pattern.compile("(.+)\\.ft-[0-9a-f]{32}(?:-([^:]+))?(?::ckpt-step-([0-9]{1,18}))?");
    private static final Pattern PATH = Pattern.compile("(?:[~.]{0,2}[/\\\\]|[A-Za-z]:[/\\\\]|[a-z][a-z0-9+.-]*://).*", Pattern.DOTALL);
    private static final Pattern PATH_STEP = Pattern.compile("(?:.*[/\\\\])?checkpoint-([0-9]{1,18})[/\\\\]?", Pattern.DOTALL);

    static ModelName parse(String name) {
        Matcher openai = OPENAI.matcher(name);
        if (openai.matches()) {
            Long step = number(openai.group(4));
            return new ModelName("openai", openai.group(1), filled(openai.group(2)), filled(openai.group(3)), step, step == null);
        }
        Matcher azure = AZURE.matcher(name);
        if (name.indexOf('/') < 0 && name.indexOf('\\') < 0 && azure.matches()) {
            Long step = number(azure.group(3));
            return new ModelName("azure", azure.group(1), null, azure.group(2), step, step == null);
        }
        Matcher pathStep = PATH_STEP.matcher(name);
        if (pathStep.matches()) {
            return new ModelName("path", null, null, null, number(pathStep.group(1)), false);
        }
        return new ModelName(PATH.matcher(name).matches() ? "path" : "unrecognised", null, null, null, null, false);
    }

    private static Long number(String digits) {
        return digits == null ? null : Long.valueOf(digits);
    }

    private static String filled(String text) {
        return text.isEmpty() ? null : text;
    }
}
