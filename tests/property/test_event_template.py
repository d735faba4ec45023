"""The text that the template fills is the text that msgspec encodes, or none at all."""

import re

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumer.config.parsing import uri
from consumer.pipeline import _event_template, event_template, ready_event
from consumer.pipeline.decode.checkpoint import Decoded, decode
from consumer.pipeline.event_template import template_parts, usual_text
from consumer.pipeline.model_name import parse_model_name
from schemas.checkpoint import FIRST_UNIX_SECOND, LAST_UNIX_SECOND, Metrics
from schemas.ready_event import DATASCHEMA, Origin
from tests.support.records import realistic_checkpoint

USUAL = decode(realistic_checkpoint("ftckpt_1", 7))
ORIGIN = Origin("in", 3, 2**40, 1_795_000_000_000)
NAME = "ft:gpt:org:suffix:job:ckpt-step-5"
texts = st.text(max_size=30) | st.from_regex(r"[ -~]{0,30}", fullmatch=True)
parts = st.sampled_from(["", "a", "gpt-4o", "ckpt-step-1", "ckpt-step-", "ft", "é", '"', "\\"])
names = (
    st.lists(parts, min_size=3, max_size=6).map(lambda of: ":".join(["ft", *of]))
    | st.from_regex(
        r"ft:[^:]{1,3}:[^:]{0,3}:[^:]{0,3}:[^:]{1,3}(:ckpt-step-[0-9]{1,20})?", fullmatch=True
    )
    | st.sampled_from(
        [NAME, "model.ft-" + "a" * 32, "/path/checkpoint-7", "ft:", "", "ft:a:b:c:d:e:f"]
    )
    | texts
)
eight_characters = st.sampled_from(["0123abcd", "20260101", "my-suffix", ""])
uri_characters = r"urn:[A-Za-z0-9._~!$&'()*+,;=:@/-]{1,40}"
numbers = st.integers(-(2**63), 2**63 - 1)
losses = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def with_content(
    checkpoint_id: str, job_id: str, created_at: int, name: str, metrics: Metrics
) -> Decoded:
    """Return a decoded checkpoint with these contents."""
    replace = msgspec.structs.replace
    checkpoint = replace(
        USUAL.checkpoint,
        id=checkpoint_id,
        fine_tuning_job_id=job_id,
        created_at=created_at,
        fine_tuned_model_checkpoint=name,
        metrics=metrics,
    )
    canonical = msgspec.json.encode(checkpoint)
    return replace(
        USUAL, id=checkpoint_id, job_id=job_id, checkpoint=checkpoint, canonical=canonical
    )


@given(
    texts,
    texts | st.just("ftjob-abc"),
    st.integers(FIRST_UNIX_SECOND, LAST_UNIX_SECOND),
    names,
    st.builds(Metrics, train_loss=losses, valid_loss=losses, full_valid_loss=losses),
    st.builds(Origin, texts, numbers, numbers, numbers),
)
@example("a", "b", FIRST_UNIX_SECOND, NAME, Metrics(), ORIGIN)
@example("a", "b", LAST_UNIX_SECOND, "ft:g:::j", Metrics(), ORIGIN)
@example("a", "b", 1_709_164_800, "ft:g:::j:ckpt-step-007", Metrics(), ORIGIN)
@settings(max_examples=1500, deadline=None)
def test_the_text_is_that_of_the_encoder(  # noqa: PLR0913, PLR0917 - all contents
    checkpoint_id: str, job_id: str, created_at: int, name: str, metrics: Metrics, origin: Origin
) -> None:
    """Byte for byte, whatever the content is."""
    decoded = with_content(checkpoint_id, job_id, created_at, name, metrics)
    evaluation = ready_event.evaluate(metrics)
    text = usual_text(decoded, evaluation, origin)
    encoded = msgspec.json.encode(ready_event._event(decoded, evaluation, origin))  # noqa: SLF001
    assert text is None or text == encoded
    is_usual = all(
        re.fullmatch(r"[ !#-\[\]-~]*", one) for one in (checkpoint_id, name, origin.topic)
    )
    if is_usual and re.fullmatch(r"[\w-]*", job_id, re.ASCII):
        assert (text is not None) is (parse_model_name(name).provider == "openai")


@pytest.mark.parametrize("fields", [{"provider": "own"}, {"base_model": "b"}, {"uri": "u"}])
def test_fields_of_the_producer(fields: dict[str, str]) -> None:
    """Only msgspec writes a model that is not that of the name. The other fields do not matter."""
    checkpoint = msgspec.structs.replace(USUAL.checkpoint, **fields)
    canonical = msgspec.json.encode(checkpoint)
    decoded = msgspec.structs.replace(USUAL, checkpoint=checkpoint, canonical=canonical)
    evaluation = ready_event.evaluate(checkpoint.metrics)
    text = usual_text(decoded, evaluation, ORIGIN)
    assert (text is None) == ("uri" not in fields)
    encoded = msgspec.json.encode(ready_event._event(decoded, evaluation, ORIGIN))  # noqa: SLF001
    assert ready_event.enrich(decoded, ORIGIN, []).value == encoded


@given(st.sampled_from(["open-mistral-7b", "gpt-4o"]), st.lists(eight_characters, max_size=4))
def test_names_of_mistral(base_model: str, rest: list[str]) -> None:
    """They have the form of OpenAI. The compiled code leaves them, and some others, to Python."""
    name = ":".join(["ft", base_model, *rest])
    decoded = with_content("a", "b", 0, name, Metrics())
    evaluation = ready_event.evaluate(Metrics())
    text = usual_text(decoded, evaluation, ORIGIN)
    encoded = msgspec.json.encode(ready_event._event(decoded, evaluation, ORIGIN))  # noqa: SLF001
    assert text in {None, encoded}
    assert ready_event.enrich(decoded, ORIGIN, []).value == encoded


@given(st.integers(FIRST_UNIX_SECOND, LAST_UNIX_SECOND))
@settings(max_examples=500)
def test_times(created_at: int) -> None:
    """Every day of the calendar, leap years and centuries included."""
    text = usual_text(
        with_content("a", "b", created_at, NAME, Metrics()), ready_event.evaluate(Metrics()), ORIGIN
    )
    assert text is not None
    assert f'"time":"{ready_event.rfc3339(created_at)}"'.encode() in text


@pytest.mark.parametrize("job_id", ["a/b", "a b", "a%b", "é", "a?b", "a#b"])
def test_a_job_id_that_needs_escapes_is_left_to_python(job_id: str) -> None:
    """Its source is percent-encoded."""
    decoded = with_content("a", job_id, 0, NAME, Metrics())
    assert usual_text(decoded, ready_event.evaluate(Metrics()), ORIGIN) is None
    event = msgspec.json.decode(ready_event.enrich(decoded, ORIGIN, []).value)
    assert event["partitionkey"] == job_id
    assert "%" in event["source"]


def test_the_usual_event_is_filled_in() -> None:
    """The realistic sample of all benchmarks and of the demo."""
    evaluation = ready_event.evaluate(USUAL.checkpoint.metrics)
    assert usual_text(USUAL, evaluation, ORIGIN) is not None


def test_without_the_compiled_code_msgspec_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are the same."""
    filled = ready_event.enrich(USUAL, ORIGIN, [])
    monkeypatch.setattr(event_template, "IS_COMPILED", False)
    assert usual_text(USUAL, ready_event.evaluate(USUAL.checkpoint.metrics), ORIGIN) is None
    assert ready_event.enrich(USUAL, ORIGIN, []) == filled


@given(
    st.from_regex(uri_characters, fullmatch=True)
    | st.sampled_from(["urn:@@id@@", "urn:@@dataschema@@", "http://h/%41", "urn:a:@@"])
)
@settings(max_examples=300, deadline=None)
def test_both_write_the_address_of_the_schema(dataschema: str) -> None:
    """The compiled code and msgspec give the same event for each allowed setting."""
    assert uri(dataschema) == dataschema
    evaluation = ready_event.evaluate(USUAL.checkpoint.metrics)
    text = usual_text(USUAL, evaluation, ORIGIN, dataschema)
    assert text is not None
    assert text == msgspec.json.encode(
        ready_event._event(USUAL, evaluation, ORIGIN, dataschema)  # noqa: SLF001
    )
    event = ready_event.enrich(USUAL, ORIGIN, [], dataschema=dataschema)
    assert event.value == text
    assert msgspec.json.decode(text)["dataschema"] == dataschema
    in_binary_mode = ready_event.enrich(USUAL, ORIGIN, [], binary_mode=True, dataschema=dataschema)
    assert dict(in_binary_mode.headers)["ce_dataschema"] == dataschema.encode()


def test_wrong_arguments() -> None:
    """An error, not a crash."""
    literals, slots = template_parts(DATASCHEMA)
    template = _event_template.Template(literals, slots)
    usual = ("a", "b", 0, NAME, b"{}", b"{}", "in", 0, 0, 0)
    assert template.fill(*usual) is not None
    for at, wrong in ((2, "0"), (4, "{}"), (5, None), (7, "0"), (9, 2**63)):
        with pytest.raises((TypeError, OverflowError)):
            template.fill(*usual[:at], wrong, *usual[at + 1 :])  # type: ignore[arg-type, call-arg]
    with pytest.raises(TypeError, match="ten arguments"):
        template.fill(*usual[:-1])  # type: ignore[call-arg]
    for wrong_parts in (
        (literals[1:], slots),
        (literals, (*slots[1:], 99)),
        (literals, (*slots[1:], -1)),
    ):
        with pytest.raises(ValueError, match="slot"):
            _event_template.Template(*wrong_parts)
    with pytest.raises(TypeError, match="bytes"):
        _event_template.Template(("text", *literals[1:]), slots)  # type: ignore[arg-type]
