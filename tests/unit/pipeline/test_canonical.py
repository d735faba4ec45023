"""The same content: which spellings make no difference, and which contents are two."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline.decode import canonical
from consumer.pipeline.decode.canonical import encode_sorted, snake_case
from consumer.pipeline.decode.checkpoint import Decoded, decode
from tests.builders import camel, checkpoint

ZEROS = {
    "step": 0,
    "train_loss": 0,
    "train_mean_token_accuracy": 0.0,
    "valid_loss": -0.0,
    "valid_mean_token_accuracy": 0,
    "full_valid_loss": 0,
    "full_valid_mean_token_accuracy": 0,
}


def decoded(**changes: object) -> Decoded:
    """Return a checkpoint with these changes."""
    return decode(json.dumps(checkpoint(**changes)).encode())


def numbers(*texts: str) -> list[bytes]:
    """Return the digests of checkpoints with an unknown number of these spellings, nested."""
    plain = json.dumps(checkpoint(new={"at": [{"depth": 0.125}]}))
    return [decode(plain.replace("0.125", text).encode()).digest for text in texts]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"new": 1.0}, {"new": 1}),
        ({"metrics": {"reward": 1.0}}, {"metrics": {"reward": 1}}),
        ({"metrics": {"reward": 0.0}}, {"metrics": {"reward": 0}}),
        ({"new": {"a": [1.0, {"b": [2]}]}}, {"new": {"a": [1, {"b": [2.0]}]}}),
        ({"new": [0.5, 1.0]}, {"new": [0.5, 1]}),
        ({"new": [1, 10**16]}, {"new": [1, 1e16]}),
        ({"resultFiles": ["f"]}, {"result_files": ["f"]}),
        ({"metrics": {"trainMeanReward": 1}}, {"metrics": {"train_mean_reward": 1}}),
        ({"topP": 1, "method": {"topK": 40}}, {"top_p": 1, "method": {"top_k": 40}}),
        ({"new": {"learnRate": [{"nEpochs": 3}]}}, {"new": {"learn_rate": [{"n_epochs": 3}]}}),
        ({"new": None}, {}),
        ({"new": {"a": None, "b": 1}}, {"new": {"b": 1}}),
        ({"metrics": {"reward": None, "step": 1}}, {"metrics": {"step": 1}}),
        ({"teamSize": None, "team_size": 1}, {"team_size": 1}),
        ({"teamSize": 1, "team_size": None}, {"team_size": 1}),
        ({"metrics": None}, {"metrics": {}}),
        ({"metrics": ZEROS}, {"metrics": {}}),
        ({"metrics": camel(ZEROS)}, {"metrics": None}),
        ({"metrics": ZEROS, "new": 1.0}, {"metrics": {}, "new": 1}),
        (
            {"metrics": ZEROS | {"train_loss": 0.51}},
            {"metrics": {"train_loss": 0.51, "valid_loss": None}},
        ),
    ],
)
def test_spelling_makes_no_difference(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Numbers, camelCase, nulls and the zeros of SDKs that marshal everything."""
    assert decoded(**one).digest == decoded(**other).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"new": 1}, {"new": True}),
        ({"new": 0}, {"new": False}),
        ({"new": 1}, {"new": "1"}),
        ({"new": 0}, {}),
        ({"metrics": {"reward": 0}}, {"metrics": {}}),
        ({"new": [None]}, {"new": []}),
        ({"new": {}}, {}),
        ({"new": 2**53 + 1}, {"new": 2**53}),
        ({"new": 10**400}, {"new": 10**400 + 1}),
        ({"new": 1e-7}, {"new": 0}),
        ({"teamSize": 1, "team_size": 2}, {"team_size": 2}),
        ({"teamSize": 1, "team_size": 2}, {"teamSize": 2, "team_size": 1}),
        ({"userID": 1}, {"user_id": 1}),
        ({"metrics": {"train_loss": 1e-300}}, {"metrics": {}}),
    ],
)
def test_other_content_is_other_content(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Differences other than spelling make two contents."""
    assert decoded(**one).digest != decoded(**other).digest


@pytest.mark.parametrize("unit", ["[],", "1,"])
def test_a_very_large_content_is_compared_as_published(unit: str) -> None:
    """Very large contents are compared as published, because a loop would block the process."""

    def count(repeats: int, *ends: str) -> int:
        plain = json.dumps(checkpoint(new="@"))
        texts = (plain.replace('"@"', f"[{unit * repeats}{end}]") for end in ends)
        return len({decode(text.encode()).digest for text in texts})

    assert count(900, "1", "1.0", " 1") == 1
    assert count(30_000, "1", "1.0") == 2
    assert count(30_000, "1", " 1") == 1


def test_numbers_are_compared_exactly() -> None:
    """All spellings of one number are the same. The next number differs."""
    assert len(set(numbers("10000000000000000", "1e16", "1E+16", "10000000000000000.0"))) == 1
    assert len(set(numbers("1e23", "100000000000000000000000", "10e22"))) == 1
    assert len(set(numbers("0", "-0", "-0.0", "0e5", "0.000"))) == 1
    assert len(set(numbers("0.1", "0.10", "1e-1"))) == 1
    large = ("9007199254740992", "9007199254740993", "9007199254740994", "1e300", "1" + "0" * 301)
    assert len(set(numbers(*large))) == len(large)


@pytest.mark.parametrize(
    ("name", "wire_name"),
    [
        ("resultFiles", "result_files"),
        ("aB2c", "a_b2c"),
        ("topK", "top_k"),
        ("topKNone", "topKNone"),
        ("top5Accuracy", "top5_accuracy"),
        ("userID", "userID"),
        ("ResultFiles", "ResultFiles"),
        ("result_Files", "result_Files"),
        ("résuméFiles", "résuméFiles"),
        ("x", "x"),
        ("", ""),
    ],
)
def test_only_the_names_that_sdks_make_are_renamed(name: str, wire_name: str) -> None:
    """No two such names have the same snake_case name, so nothing is merged."""
    assert snake_case(name) == wire_name


def test_what_is_published_is_the_records_own_content() -> None:
    """Fields are published in snake_case. Numbers, zeros, nulls and inner names are unchanged.

    The names inside an unknown object may be data: a map by users' names must not be renamed.
    """
    published = json.loads(
        decoded(
            resultFiles=["f"],
            labels={"teamName": 1.0, "none": None},
            metrics={"trainLoss": 0, "trainReward": 1.0},
            teamSize=1,
            team_size=2,
        ).canonical
    )
    assert published["result_files"] == ["f"]
    assert "resultFiles" not in published
    assert published["labels"] == {"teamName": 1.0, "none": None}
    assert published["metrics"] == {"train_loss": 0.0, "train_reward": 1.0}
    assert (published["teamSize"], published["team_size"]) == (1, 2)


@pytest.mark.parametrize("turn", [1, -1])
def test_the_order_of_many_members_costs_no_time_and_no_stack(turn: int) -> None:
    """With the sort of msgspec alone, one takes minutes, and the other ends the process."""
    names = [f"{at:06d}" for at in range(200_000)]
    members = dict.fromkeys(names[turn:] + names[:turn], 1)
    in_order = decoded(new=[{"é": dict.fromkeys(names, 1)}])
    found = decoded(new=[{"é": members}])
    assert (found.canonical, found.digest) == (in_order.canonical, in_order.digest)


@given(
    st.recursive(
        st.integers(0, 9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_members_are_sorted_as_the_encoder_sorts_them(inner: object) -> None:
    """The bytes equal those of the encoder's own sort, for large objects too."""
    large = {chr(at): inner for at in range(0x2FF, 0x1FF, -1)}
    document = {"a": inner, "large": large, "inner": [large, {"b": [large]}]}
    expected = msgspec.json.encode(document, order="sorted")
    assert encode_sorted(document, len(expected)) == expected


@pytest.mark.parametrize(
    "changes",
    [{}, {"metrics": ZEROS}, {"metrics": {}}, {"new": 1.0}, {"metrics": {"step": 1, "x": 0.0}}],
)
def test_the_digest_is_that_of_the_published_bytes(changes: dict[str, Any]) -> None:
    """The digest can be computed from the canonical bytes, in every version of the form."""
    found = decoded(**changes)
    assert canonical.digest_in(1, found.canonical) == found.digest
    assert decode(found.canonical).digest == found.digest
