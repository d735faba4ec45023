"""The subscribers in Python and kcat log in with the file that KAFKA_PROPERTIES_FILE names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.examples.harness import Example
from tests.examples.programs import SUBSCRIBERS, python_example
from tests.support.documents import compact
from tests.support.records import NewRecord
from tests.support.secured_kafka import MECHANISM, MUTUAL, PASSWORD, SASL, TLS, Acl, SecuredKafka

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)  # the first run installs the packages of the examples

MODULES = ["subscribe_aiokafka", "subscribe_confluent"]
TOPIC, GROUP, USER = "login.ready", "login", "subscriber"
PERMISSIONS = [
    Acl("TOPIC", TOPIC, "READ"),
    Acl("GROUP", GROUP, "READ", "PREFIXED"),
]
PROTOCOLS = {SASL: "SASL_PLAINTEXT", TLS: "SASL_SSL", MUTUAL: "SSL"}
EVENT = {
    "specversion": "1.0",
    "id": "ftckpt_1",
    "source": "/login",
    "type": "fine_tuning.job.checkpoint.ready",
    "data": {
        "checkpoint": {
            "fine_tuning_job_id": "ftjob-1",
            "step_number": 1,
            "fine_tuned_model_checkpoint": "ft:model::1:ckpt-step-1",
        }
    },
}


@pytest.fixture(scope="module")
def secured(secured_kafka: SecuredKafka) -> SecuredKafka:
    """Return a broker with one event, and a user that may only subscribe."""
    cluster = secured_kafka.cluster()
    cluster.create_topics({TOPIC: 1})
    cluster.produce(TOPIC, [NewRecord(compact(EVENT), b"key", 0)])
    secured_kafka.add_user(USER, PERMISSIONS)
    secured_kafka.allow(f"CN={USER}", PERMISSIONS)
    return secured_kafka


@pytest.fixture(params=[*MODULES, "kcat"])
def example(request: pytest.FixtureRequest) -> Example:
    """Each program that reads the file."""
    if request.param == "kcat":
        return Example("kcat", (str(SUBSCRIBERS / "kcat" / "subscribe.sh"),))
    return python_example(request.param)


def properties(secured: SecuredKafka, listener: str) -> dict[str, str]:
    """Return the properties of a client at a listener, with the names of librdkafka."""
    found = {"security.protocol": PROTOCOLS[listener]}
    if listener != SASL:
        found["ssl.ca.location"] = str(secured.authority.file)
    if listener == MUTUAL:
        ours = secured.authority.certify(USER)
        return found | {
            "ssl.certificate.location": str(ours.chain),
            "ssl.key.location": str(ours.key),
        }
    return found | {
        "sasl.mechanism": MECHANISM,
        "sasl.username": USER,
        "sasl.password": PASSWORD,
    }


def written(folder: Path, content: Mapping[str, str]) -> dict[str, str]:
    """Write the file, and return its variable."""
    file = folder / "kafka.properties"
    lines = [f"{name}={value}\n" for name, value in content.items()]
    file.write_text("# the login\n\n" + "".join(lines), encoding="utf-8")
    return {"KAFKA_PROPERTIES_FILE": str(file)}


@pytest.mark.parametrize(
    ("example", "listener"),
    [
        *((module, listener) for module in MODULES for listener in PROTOCOLS),
        ("kcat", MUTUAL),  # kcat of Debian 12 cannot log in with SCRAM at Kafka 4
    ],
    indirect=["example"],
)
def test_each_program_logs_in(
    example: Example, secured: SecuredKafka, listener: str, tmp_path: Path
) -> None:
    """By a password without and with TLS, and by a client certificate; no secret is logged."""
    variables = written(tmp_path, properties(secured, listener))
    servers = secured.kafka.listener(listener)
    group = f"{GROUP}-{listener}-{example.name}"
    with example.start(servers, TOPIC, group=group, **variables) as running:
        running.wait_for_ids({"ftckpt_1"})
        assert running.stop_by() == 0
        assert PASSWORD not in running.errors


def test_a_refused_login_is_one_clear_error(
    example: Example, secured: SecuredKafka, tmp_path: Path
) -> None:
    """The program ends instead of waiting, and does not log the password."""
    wrong = properties(secured, SASL) | {"sasl.password": "not the password"}
    variables = written(tmp_path, wrong)
    servers = secured.kafka.listener(SASL)
    with example.start(servers, TOPIC, group=GROUP, **variables) as running:
        assert running.wait() == 1
        assert "refused the login" in running.errors.splitlines()[-1]
        assert "not the password" not in running.errors


@pytest.mark.parametrize(
    ("line", "message"),
    [("sasl.password", "line 3"), ("no.such.property=1", "no.such.property")],
)
@pytest.mark.parametrize("module", MODULES)
def test_a_wrong_line_is_an_error_at_start(
    module: str, line: str, message: str, tmp_path: Path
) -> None:
    """A misspelt property is not ignored."""
    file = tmp_path / "kafka.properties"
    file.write_text(f"# the login\n\n{line}\n", encoding="utf-8")
    with python_example(module).start(
        "127.0.0.1:1", "unused", group="unused", KAFKA_PROPERTIES_FILE=str(file)
    ) as running:
        assert running.wait() == 2
        assert message in running.errors.splitlines()[-1]
