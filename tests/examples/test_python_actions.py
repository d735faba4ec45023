"""What the subscribers in Python do with an event: evaluate, register, send. Once for each id."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples.history import is_binary
from tests.examples.mlflow_server import MlflowServer
from tests.examples.programs import example_python, python_example
from tests.examples.scenarios import renamed
from tests.examples.webhook_receiver import WebhookReceiver
from tests.support.standard_webhooks import signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.examples.harness import Example, RunningExample
    from tests.examples.history import History
    from tests.examples.webhook_receiver import Received
    from tests.support.topics import Names

pytestmark = pytest.mark.timeout(300)  # the first run installs the packages of the examples

AIOKAFKA, CONFLUENT = "subscribe_aiokafka", "subscribe_confluent"
WEBHOOK_IDS = Path(__file__).with_name("webhook_ids.json")
SECRET_BYTES = b"0123456789abcdef01234567"
SECRET = f"whsec_{base64.b64encode(SECRET_BYTES).decode()}"
# It stores each event, and for the id "crash" it kills the subscriber, but only the first time.
EVALUATE = """
import json, os, signal, sys
event = json.load(sys.stdin) | {"quoted": os.environ.get("CHECKPOINT_ID")}
print("evaluating", event["id"])
is_first = event["id"] not in open(sys.argv[1]).read()
with open(sys.argv[1], "a") as file:
    print(json.dumps(event), file=file)
if event["id"] == "crash" and is_first:
    os.kill(os.getppid(), signal.SIGKILL)
"""
VERIFY = """
import json, sys
from standardwebhooks import Webhook
given = json.load(sys.stdin)
print(json.dumps(Webhook(given["secret"]).verify(given["body"], given["headers"])))
"""


@pytest.fixture(params=[AIOKAFKA, CONFLUENT])
def example(request: pytest.FixtureRequest) -> Example:
    """Each of the two programs."""
    return python_example(request.param)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Write the webhook secret to a file."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Start a local MLflow server."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        server.wait_until_ready()
        yield server


class Delivery:
    """A topic with some ready events, which a test delivers to an example several times."""

    def __init__(self, history: History, names: Names, ids: Sequence[str]) -> None:
        """Produce an event of each id, with an attribute and a member that no example knows."""
        self.topic = names.topic("actions")
        self.ids = list(ids)
        self._names = names
        self._cluster = history.cluster
        known = next(record for record in history.committed if not is_binary(record))
        self._cluster.create_topics({self.topic: 1})
        self._cluster.produce(self.topic, [renamed(known, one, future="x") for one in ids])

    def to(self, example: Example, role: str = "group", **variables: str) -> RunningExample:
        """Start the example in a group of this role: each new role gets all events."""
        return example.start(
            self._cluster.bootstrap_servers,
            self.topic,
            group=self._names.group(role),
            **variables,
        )

    def committed(self, role: str = "group") -> int:
        """Return the committed offset of a group, or 0."""
        offsets = self._cluster.group_offsets(self._names.group(role))
        return offsets.get((self.topic, 0), 0)


def evaluation(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return the file with the events that were evaluated, and the variables of the example."""
    program, events = tmp_path / "evaluate.py", tmp_path / "events"
    program.write_text(EVALUATE, encoding="utf-8")
    events.touch()
    return events, {
        "EVALUATION_COMMAND": f"{sys.executable} '{program}' '{events}'",
        "HANDLED_IDS_FILE": f"{tmp_path}/handled.db",
    }


def test_events_are_evaluated_once_despite_redelivery(
    example: Example, history: History, names: Names, tmp_path: Path
) -> None:
    """All events are delivered again after a crash: only the event in hand is evaluated again."""
    delivery = Delivery(history, names, ["a", "b", "crash", "c", "d"])
    events, variables = evaluation(tmp_path)
    with delivery.to(example, **variables) as running:
        assert running.wait() == -9
        assert running.ids == ["a", "b"]
    assert delivery.committed() == delivery.ids.index("crash")
    # In another group, which gets all events, and need not wait until the broker misses a member.
    with delivery.to(example, "second", **variables) as running:
        running.wait_for_ids(delivery.ids)
        assert "evaluating c" in running.errors  # so standard output has lines only
        assert running.stop_by() == 0
    found = [json.loads(line) for line in events.read_text("utf-8").splitlines()]
    assert Counter(event["id"] for event in found) == Counter([*delivery.ids, "crash"])
    assert {event["future"] for event in found} == {"x"}
    assert {event["data"]["checkpoint"]["object"] for event in found} == {
        "fine_tuning.job.checkpoint"
    }


def test_any_id_is_evaluated_and_sent(
    example: Example, history: History, names: Names, tmp_path: Path, secret: Path
) -> None:
    """The variable of the command and the header of the webhook have the quoted id."""
    vectors = json.loads(WEBHOOK_IDS.read_text("utf-8"))
    delivery = Delivery(history, names, [vector["id"] for vector in vectors])
    events, variables = evaluation(tmp_path)
    with (
        WebhookReceiver([]) as receiver,
        delivery.to(example, **variables, **webhook(receiver, secret)) as running,
    ):
        running.wait_for_ids(delivery.ids)
        assert running.stop_by() == 0
    evaluated = [json.loads(line) for line in events.read_text("utf-8").splitlines()]
    expected = [(vector["id"], vector["webhook_id"]) for vector in vectors]
    assert [(event["id"], event["quoted"]) for event in evaluated] == expected
    received = [
        (json.loads(one.body)["id"], one.headers["webhook-id"]) for one in receiver.received
    ]
    assert received == expected


def test_an_id_that_fits_in_no_variable_is_evaluated(
    history: History, names: Names, tmp_path: Path
) -> None:
    """The service publishes ids of up to 32,768 characters: the command reads it from the event."""
    longest = "é" * 32_768
    delivery = Delivery(history, names, [longest])
    events, variables = evaluation(tmp_path)
    with delivery.to(python_example(AIOKAFKA), **variables) as running:
        running.wait_for_ids([longest])
        assert running.stop_by() == 0
    event = json.loads(events.read_text("utf-8"))
    assert (event["id"], event["quoted"]) == (longest, None)


@pytest.mark.parametrize(
    ("command", "message"),
    [("false", "ended with 1"), ("sleep 600", "timed out"), ("./missing", "No such file")],
)
def test_a_failed_evaluation_is_not_committed(
    history: History, names: Names, command: str, message: str
) -> None:
    """The program ends with an error, and the event is delivered to it again after a restart."""
    delivery = Delivery(history, names, ["a", "b"])
    failing = {"EVALUATION_COMMAND": command, "EVALUATION_TIMEOUT_SECONDS": "0.3"}
    with delivery.to(python_example(AIOKAFKA), **failing) as running:
        assert running.wait() == 1
        assert message in running.errors
        assert running.lines == []
    assert delivery.committed() == 0
    with delivery.to(python_example(CONFLUENT), EVALUATION_COMMAND="true") as running:
        running.wait_for_ids(delivery.ids)


@pytest.mark.timeout(600)  # the first run installs the MLflow server
def test_two_deliveries_register_one_version(
    history: History, names: Names, mlflow: MlflowServer
) -> None:
    """Each checkpoint is one version of the model of its job, with its figures as tags."""
    delivery = Delivery(history, names, ["a", "b", "it's/odd:"])
    for role, module in (("first", AIOKAFKA), ("second", CONFLUENT)):
        program = python_example(module)
        with delivery.to(program, role, MLFLOW_TRACKING_URI=mlflow.url) as running:
            lines = running.wait_for_ids(delivery.ids)
            assert running.stop_by() == 0
    job, step, loss = (lines[0][name] for name in ("job", "step", "loss"))
    assert mlflow.models() == {job: {"base_model": "gpt-4o-mini-2024-07-18"}}
    versions = mlflow.versions()
    assert Counter(version["name"] for version in versions) == {job: len(delivery.ids)}
    expected = {"job": job, "step": str(step), "loss": "" if loss is None else repr(loss)}
    tags = {version["tags"].pop("checkpoint_id"): version["tags"] for version in versions}
    assert tags == dict.fromkeys(("a", "b", "it%27s%2Fodd%3A"), expected)
    assert {version["description"] for version in versions} == {lines[0]["model"]}


def test_webhooks_are_signed_and_retried(
    example: Example, history: History, names: Names, secret: Path
) -> None:
    """Two refusals, then success: the same id and body in each attempt, with a valid signature."""
    delivery = Delivery(history, names, ["a", "b.c"])
    with (
        WebhookReceiver([503, 503]) as receiver,
        delivery.to(example, **webhook(receiver, secret)) as running,
    ):
        running.wait_for_ids(delivery.ids)
        assert running.stop_by() == 0
        received = receiver.received
        assert SECRET.removeprefix("whsec_") not in running.errors
    assert [one.headers["webhook-id"] for one in received] == ["a", "a", "a", "b%2Ec"]
    assert len({one.body for one in received[:3]}) == 1
    for one in received:
        assert_signed(one)
        assert one.headers["content-type"] == "application/cloudevents+json"
    assert verified(received[-1])["id"] == "b.c"
    assert verified(received[-1])["future"] == "x"


def test_a_gone_endpoint_gets_no_more_events(
    example: Example, history: History, names: Names, secret: Path
) -> None:
    """After status 410 the program handles the other events without a webhook."""
    delivery = Delivery(history, names, ["a", "b", "c"])
    with (
        WebhookReceiver([200], afterwards=410) as receiver,
        delivery.to(example, **webhook(receiver, secret)) as running,
    ):
        running.wait_for_ids(delivery.ids)
        assert running.stop_by() == 0
        assert [one.headers["webhook-id"] for one in receiver.received] == ["a", "b"]
        assert "gone (410)" in running.errors


def test_an_event_that_no_attempt_delivers_is_not_committed(
    example: Example, history: History, names: Names, secret: Path
) -> None:
    """The retries are bounded, and a redirect is a refusal. Then the program ends with an error."""
    delivery = Delivery(history, names, ["a"])
    with (
        WebhookReceiver([500, 302], afterwards=503) as receiver,
        delivery.to(example, **webhook(receiver, secret)) as running,
    ):
        assert running.wait() == 1
        assert "did not accept a" in running.errors
        assert len(receiver.received) == 3
    assert delivery.committed() == 0


def test_the_wait_before_a_retry_does_not_delay_the_stop(
    example: Example, history: History, names: Names, secret: Path
) -> None:
    """The program ends during the wait, and the event is delivered again after a restart."""
    delivery = Delivery(history, names, ["a"])
    with WebhookReceiver([503]) as receiver:
        variables = webhook(receiver, secret)
        with delivery.to(example, **variables | {"WEBHOOK_RETRY_SECONDS": "600"}) as running:
            receiver.wait_for(1)
            assert running.stop_by() == 0
            assert running.lines == []
        assert delivery.committed() == 0
        with delivery.to(example, **variables) as running:
            running.wait_for_ids(delivery.ids)
        assert len(receiver.received) == 2


def test_a_missing_secret_is_an_error_at_start(example: Example) -> None:
    """The program does not send unsigned webhooks."""
    variables = {"WEBHOOK_URL": "http://127.0.0.1:1/", "WEBHOOK_SECRET_FILE": "missing"}
    with example.start("127.0.0.1:1", "unused", group="unused", **variables) as running:
        assert running.wait() == 2
        assert "No such file" in running.errors.splitlines()[-1]


def webhook(receiver: WebhookReceiver, secret: Path) -> dict[str, str]:
    """Return the variables of a program that sends to the receiver, with two quick retries."""
    return {
        "WEBHOOK_URL": receiver.url,
        "WEBHOOK_SECRET_FILE": str(secret),
        "WEBHOOK_RETRY_SECONDS": "0.02,0.02",
    }


def assert_signed(received: Received) -> None:
    """Assert that the signature is the one of the specification, computed without its library."""
    headers = received.headers
    delivery_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    wanted = signature(SECRET_BYTES, delivery_id, timestamp, received.body)
    assert headers["webhook-signature"] == wanted


def verified(received: Received) -> dict[str, Any]:
    """Return the event, as the library of Standard Webhooks verifies it."""
    given = {"secret": SECRET, "headers": received.headers, "body": received.body.decode()}
    done = subprocess.run(
        [str(example_python()), "-c", VERIFY],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found
