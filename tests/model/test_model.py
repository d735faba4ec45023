"""The protocol holds in every order of its steps, and the search would notice if it did not."""

import pytest

from consumer.shard.events import Step
from consumer.shard.status import TaskState
from tests.model.plan import FAULTY, SOUND, Fault, Plan
from tests.model.search import search
from tests.model.states import Place
from tests.support.figures import show

TWICE = "published twice: aa"
LOST = "all is read, and of 'a' only '' is published"
TRIMMED = "shard 0: an unhandled forward was trimmed"
EXPECTED = {
    Fault.RESTORE_BEFORE_FENCE: TWICE,
    Fault.MEMORY_KEPT: TWICE,
    Fault.UNKNOWN_COMMIT_AS_ABORT: TWICE,
    Fault.DECIDED_AHEAD: TWICE,
    Fault.MEMORY_BEFORE_COMMIT: TRIMMED,
    Fault.FORWARD_APART: LOST,
    Fault.BATCH_UNCHECKED: "the changelog says '', published is 'a'",
    Fault.READ_UNCOMMITTED: LOST,
    Fault.TRIM_UNCOMMITTED: TRIMMED,
    Fault.END_OFFSETS: TWICE,
    Fault.ADDED_AT_END: LOST,
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("plan", SOUND.values(), ids=SOUND)
def test_sound_protocol_breaks_nothing(plan: Plan) -> None:
    """Nothing is lost or published twice; a model that explores nothing would not pass."""
    result = search(plan)
    assert result.violation is None, result.describe()
    assert result.states >= plan.floor
    assert result.ends


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
def test_planted_fault_is_caught(
    fault: Fault, capsys: pytest.CaptureFixture[str], pytestconfig: pytest.Config
) -> None:
    """Each rule is needed: broken, it breaks the promise, and not by its plan (-v shows how)."""
    plan = FAULTY[fault]
    assert search(plan).violation is None
    result = search(plan._replace(fault=fault))
    if pytestconfig.get_verbosity() > 0:
        show(capsys, f"{fault.value}: {result.describe()}")
    assert result.violation == EXPECTED[fault], result.describe()


def test_steps_are_the_engines() -> None:
    """A state or step that the engine gains, loses or renames is noticed here."""
    names = {place.name for place in Place}
    # Begin and end of a task change nothing; the last three are moments between two states.
    silent = {"CREATED", "STOPPING", "CLOSED", "FENCED", "BARRIER_SET", "RESTORED"}
    assert names | silent == {one.name for one in (*TaskState, *Step)}
    assert not names & silent
    assert all(place.value in {one.value for one in (*TaskState, *Step)} for place in Place)
