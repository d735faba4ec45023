package checkpointready;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What a checkpoint and its model name say about the model. */
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
    private static final Pattern AZURE = Pattern.compile("([^:/\\\\]+)\\.ft-[0-9a-f]{32}(?:-([^:/\\\\]+))?(?::ckpt-step-([0-9]{1,18}))?");
    private static final Pattern MISTRAL = Pattern.compile(
            "ft:((?:open-)?(?:mistral|mixtral|ministral|codestral|pixtral|magistral|devstral)[^:]*)"
                    + ":([0-9a-f]{8}):[0-9]{8}(?::([^:]+))?:[0-9a-f]{8}");
    private static final Pattern TINKER_STEP = Pattern.compile("(?:.*/)?(?:step|checkpoint)[-_]([0-9]{1,18})/?", Pattern.DOTALL);
    private static final Pattern FIREWORKS = Pattern.compile("accounts/([^/\\s]+)/models/[^/\\s]+");
    private static final Pattern TOGETHER =
            Pattern.compile("([^/:\\\\]+)/([^/:\\\\]+?-Reference)(?:-([^/:\\\\]+))?-[0-9a-f]{8}");
    private static final Pattern PATH = Pattern.compile("(?:[~.]{0,2}[/\\\\]|[A-Za-z]:[/\\\\]|[a-z][a-z0-9+.-]*://).*", Pattern.DOTALL);
    private static final Pattern PATH_STEP = Pattern.compile("(?:.*[/\\\\])?checkpoint-([0-9]{1,18})[/\\\\]?", Pattern.DOTALL);

    static ModelName of(Checkpoint checkpoint) {
        ModelName name = parse(checkpoint.model);
        if (checkpoint.provider == null && checkpoint.baseModel == null) {
            return name;
        }
        return new ModelName(
                checkpoint.provider == null ? name.provider : checkpoint.provider,
                checkpoint.baseModel == null ? name.baseModel : checkpoint.baseModel,
                name.organization,
                name.suffix,
                name.step,
                name.isFinal);
    }

    private static ModelName parse(String name) {
        Matcher mistral = MISTRAL.matcher(name);
        if (mistral.matches()) {
            return new ModelName("mistral", mistral.group(1), mistral.group(2), mistral.group(3), null, true);
        }
        Matcher openai = OPENAI.matcher(name);
        if (openai.matches()) {
            Long step = number(openai.group(4));
            return new ModelName("openai", openai.group(1), filled(openai.group(2)), filled(openai.group(3)), step, step == null);
        }
        Matcher azure = AZURE.matcher(name);
        if (azure.matches()) {
            Long step = number(azure.group(3));
            return new ModelName("azure", azure.group(1), null, azure.group(2), step, step == null);
        }
        if (name.startsWith("tinker://")) {
            Matcher step = TINKER_STEP.matcher(name);
            return new ModelName("tinker", null, null, null, step.matches() ? number(step.group(1)) : null, false);
        }
        Matcher pathStep = PATH_STEP.matcher(name);
        if (pathStep.matches()) {
            return new ModelName("path", null, null, null, number(pathStep.group(1)), false);
        }
        return PATH.matcher(name).matches() ? new ModelName("path", null, null, null, null, false) : resource(name);
    }

    private static ModelName resource(String name) {
        Matcher fireworks = FIREWORKS.matcher(name);
        if (fireworks.matches()) {
            return new ModelName("fireworks", null, fireworks.group(1), null, null, false);
        }
        Matcher together = TOGETHER.matcher(name);
        if (together.matches()) {
            return new ModelName("together", together.group(2), together.group(1), together.group(3), null, false);
        }
        return new ModelName("unrecognised", null, null, null, null, false);
    }

    private static Long number(String digits) {
        return digits == null ? null : Long.valueOf(digits);
    }

    private static String filled(String text) {
        return text.isEmpty() ? null : text;
    }
}
