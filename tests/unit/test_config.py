"""The settings: defaults, every variable, secrets, and contradictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from consumer.config import PREFIX, VARIABLES, Secret, Settings, unknown_variables
from consumer.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "correct horse battery staple"
GUID = "89791762-2336-4186-9674-299b90a802e2"
SASL = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "ada",
    "sasl_password": PASSWORD,
}
# Of README.md, word for word; the names must exist as written.
DESIGNED_DEFAULTS = {
    "bootstrap_servers": "localhost:9092",
    "group_id": "checkpoint-ready",
    "group_instance_id": "",
    "input_topics": ("fine-tuning.checkpoints",),
    "output_topic": "fine-tuning.checkpoint-ready",
    "dead_letter_topic": "fine-tuning.checkpoints.dead-letters",
    "shards": None,
    "commit_interval_ms": 10,
    "dedup_window_seconds": 0,
    "auto_offset_reset": "earliest",
    "create_topics": False,
    "repartition_retention_days": 0,
    "http_port": 8080,
    "log_level": "info",
    "log_format": "",
    "security_protocol": "PLAINTEXT",
    "sasl_mechanism": "",
    "sasl_username": "",
    "ssl_cafile": "",
    "ssl_certfile": "",
    "ssl_keyfile": "",
    "transaction_timeout_ms": 15_000,
    "cloudevents_mode": "structured",
    "compression_type": "none",
    "schema_guid": "",
    "dataschema": "urn:checkpoint-ready:schema:ready-event:1",
}


def load(**variables: object) -> Settings:
    """Load settings from variables in lower case without their prefix."""
    return Settings.load({PREFIX + name.upper(): str(value) for name, value in variables.items()})


def problems(**variables: object) -> list[str]:
    """Return the problems that loading these variables reports."""
    with pytest.raises(ConfigError) as caught:
        load(**variables)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("field", "default"), DESIGNED_DEFAULTS.items())
def test_defaults_are_the_designed_ones(field: str, default: object) -> None:
    """Without any variable each setting is what README.md says."""
    assert getattr(load(), field) == default


def test_every_setting_has_a_variable_and_a_description() -> None:
    """The table of variables and the fields are the same set, and each row says what it is for."""
    assert {variable.field for variable in VARIABLES} == set(Settings.__struct_fields__)
    assert len({variable.name for variable in VARIABLES}) == len(VARIABLES)
    assert all(variable.description for variable in VARIABLES)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("bootstrap_servers", "a:1, [::1]:2", "a:1,[::1]:2"),
        ("group_id", "g", "g"),
        ("group_instance_id", "pod-0", "pod-0"),
        ("input_topics", "a, b,", ("a", "b")),
        ("output_topic", "out", "out"),
        ("dead_letter_topic", "dead", "dead"),
        ("shards", "12", 12),
        ("commit_interval_ms", "5", 5),
        ("dedup_window_seconds", "3600", 3600),
        ("auto_offset_reset", "LATEST", "latest"),
        ("create_topics", "True", True),
        ("repartition_retention_days", "14", 14),
        ("http_port", "0", 0),
        ("log_level", "WARNING", "warning"),
        ("log_format", "console", "console"),
        ("cloudevents_mode", "binary", "binary"),
        ("schema_guid", GUID.upper(), GUID),
        ("dataschema", "http://[::1]:8080/a%20b?c=d#e", "http://[::1]:8080/a%20b?c=d#e"),
        ("dataschema", "urn:acme:ready", "urn:acme:ready"),
        ("session_timeout_ms", "30000", 30_000),
        ("heartbeat_interval_ms", "1000", 1000),
        ("transaction_timeout_ms", "20000", 20_000),
        ("discovery_interval_ms", "200", 200),
        ("trim_interval_ms", "200", 200),
        ("max_transaction_records", "10", 10),
    ],
)
def test_each_variable_is_read(name: str, text: str, value: object) -> None:
    """A variable alone changes its setting and no other."""
    changed = load(**{name: text})
    assert getattr(changed, name) == value
    defaults = msgspec.structs.asdict(load())
    others = {
        other
        for other, default in defaults.items()
        if getattr(changed, other) != default and not isinstance(default, Secret)
    }
    assert others == {name}


def test_security_variables_are_read(tmp_path: Path) -> None:
    """Login and certificates are taken over together."""
    files = {name: tmp_path / name for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile")}
    for file in files.values():
        file.write_text("PEM")
    settings = load(**SASL, **files)
    assert settings.security_protocol == "SASL_SSL"
    assert settings.sasl_mechanism == "SCRAM-SHA-512"
    assert settings.sasl_username == "ada"
    assert settings.sasl_password.reveal() == PASSWORD
    assert settings.ssl_keyfile == str(files["ssl_keyfile"])


def test_names_follow_from_the_group() -> None:
    """Internal topics and transactional ids carry the group's name."""
    settings = load(group_id="g")
    assert settings.changelog_topic == "g.changelog"
    assert settings.repartition_topic == "g.repartition"
    assert settings.transactional_id(4) == "g-4"


def test_empty_variables_mean_the_default() -> None:
    """What a chart leaves empty is as if it were not set."""
    empty = {variable.name: " " for variable in VARIABLES}
    # Compared as text: a secret equals nothing but itself.
    assert repr(Settings.load(empty)) == repr(Settings.load({}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bootstrap_servers", "kafka"),
        ("bootstrap_servers", "kafka:9092,"),
        ("bootstrap_servers", "http://kafka:9092"),
        ("bootstrap_servers", "kafka:65536"),
        ("group_id", "two words"),
        ("group_id", "g" * 201),
        ("input_topics", ","),
        ("input_topics", "a,a"),
        ("input_topics", "a b"),
        ("output_topic", ".."),
        ("dead_letter_topic", "x" * 250),
        ("shards", "0"),
        ("shards", "many"),
        ("commit_interval_ms", "-1"),
        ("commit_interval_ms", "1.5"),
        ("commit_interval_ms", "١"),  # noqa: RUF001 - a digit that int() would take
        ("dedup_window_seconds", "1h"),
        ("auto_offset_reset", "none"),
        ("create_topics", "maybe"),
        ("repartition_retention_days", "13"),
        ("http_port", "65536"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("security_protocol", "TLS"),
        ("sasl_mechanism", "GSSAPI"),
        ("cloudevents_mode", "batch"),
        ("schema_guid", "7"),
        ("schema_guid", GUID.replace("-", "")),
        ("schema_guid", f"{{{GUID}}}"),
        ("dataschema", "schemas/ready-event/1"),
        ("dataschema", "//host/ready-event"),
        ("dataschema", "https:/host"),
        ("dataschema", "https://host/a b"),
        ("dataschema", "https://host/é"),
        ("dataschema", "https://host/%zz"),
        ("dataschema", 'urn:"'),
        ("dataschema", "urn:"),
        ("dataschema", "urn:" + "x" * 500),
        ("session_timeout_ms", "10"),
        ("max_transaction_records", "0"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(name: str, text: str) -> None:
    """One line names the variable and what it may be."""
    (problem,) = problems(**{name: text})
    assert problem.startswith(f"{PREFIX}{name.upper()}: ")


def test_all_problems_come_at_once() -> None:
    """Bad values and contradictions are reported together, one line each."""
    found = problems(
        shards="x", http_port="-", log_level="loud", input_topics="a", output_topic="a",
        ssl_cafile="/nowhere/ca.pem",
    )  # fmt: skip
    assert len(found) == 6, found
    named = ("SHARDS", "HTTP_PORT", "LOG_LEVEL", "INPUT_TOPICS", "SSL_", "SSL_CAFILE")
    for name in named:
        assert any(line.startswith(PREFIX + name) for line in found), (name, found)


def test_an_unreadable_value_is_not_reported_twice() -> None:
    """No contradiction is claimed with a setting whose own value could not be read."""
    login = {name: value for name, value in SASL.items() if name != "security_protocol"}
    (problem,) = problems(security_protocol="TLS", **login)
    assert problem.startswith(f"{PREFIX}SECURITY_PROTOCOL: ")


class TestSecrets:
    """Secrets come from variables or files and never show themselves."""

    def test_a_file_gives_the_secret(self, tmp_path: Path) -> None:
        """…_FILE is read, and the newline that editors add is not part of a password."""
        file = tmp_path / "password"
        file.write_text(PASSWORD + "\n")
        (tmp_path / "user").write_text("ada\n")
        login = {**SASL, "sasl_username_file": tmp_path / "user", "sasl_password_file": file}
        del login["sasl_username"], login["sasl_password"]
        settings = load(**login)
        assert settings.sasl_password.reveal() == PASSWORD
        assert settings.sasl_username == "ada"

    def test_both_ways_are_too_many(self, tmp_path: Path) -> None:
        """Variable and file together are refused, because their order would be ambiguous."""
        (tmp_path / "password").write_text("other")
        (problem,) = problems(**SASL, sasl_password_file=tmp_path / "password")
        assert "SASL_PASSWORD_FILE" in problem
        assert PASSWORD not in problem

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        """The line says which variable and why."""
        login = {name: value for name, value in SASL.items() if name != "sasl_password"}
        (problem,) = problems(**login, sasl_password_file=tmp_path / "nowhere")
        assert problem.startswith(f"{PREFIX}SASL_PASSWORD: ")
        assert "No such file" in problem

    def test_nothing_shows_the_password(self) -> None:
        """Neither repr nor str, of the settings or of the secret alone, gives it away."""
        settings = load(**SASL)
        shown = (
            f"{settings} {settings!r} {settings.sasl_password} {settings.sasl_password!r} "
            f"{settings.sasl_password.mask} {msgspec.structs.asdict(settings)}"
        )
        assert PASSWORD not in shown
        assert "********" in shown
        assert PASSWORD.encode() not in msgspec.json.encode(settings, enc_hook=repr)

    def test_an_error_does_not_show_the_password(self) -> None:
        """Problems with other variables do not quote it."""
        found = problems(**{**SASL, "sasl_mechanism": ""}, shards="x")
        assert len(found) == 2
        assert not any(PASSWORD in line for line in found)


class TestContradictions:
    """Settings that are right alone and wrong together."""

    @pytest.mark.parametrize("missing", ["sasl_mechanism", "sasl_username", "sasl_password"])
    def test_sasl_needs_a_whole_login(self, missing: str) -> None:
        """Mechanism, user and password belong to a SASL protocol."""
        (problem,) = problems(**{**SASL, missing: ""})
        assert "SASL_MECHANISM, SASL_USERNAME and SASL_PASSWORD" in problem

    def test_a_login_needs_sasl(self) -> None:
        """A password that would silently not be used is refused."""
        (problem,) = problems(sasl_username="ada")
        assert "SECURITY_PROTOCOL" in problem

    def test_certificates_need_ssl(self, tmp_path: Path) -> None:
        """Certificates that would silently not be used are refused."""
        (tmp_path / "ca").write_text("PEM")
        (problem,) = problems(ssl_cafile=tmp_path / "ca")
        assert "SECURITY_PROTOCOL" in problem

    def test_a_certificate_needs_its_key(self, tmp_path: Path) -> None:
        """Mutual TLS takes both files."""
        (tmp_path / "cert").write_text("PEM")
        (problem,) = problems(security_protocol="SSL", ssl_certfile=tmp_path / "cert")
        assert "need each other" in problem

    def test_files_must_be_there(self) -> None:
        """A missing certificate is found before anything is connected."""
        (problem,) = problems(security_protocol="SSL", ssl_cafile="/nowhere/ca.pem")
        assert problem.startswith(f"{PREFIX}SSL_CAFILE: ")
        assert "/nowhere/ca.pem" in problem

    @pytest.mark.parametrize("own", ["out", "dead", "g.changelog", "g.repartition"])
    def test_an_own_topic_is_no_input(self, own: str) -> None:
        """Reading a topic that the service writes would be a loop."""
        (problem,) = problems(
            input_topics=f"in,{own}", output_topic="out", dead_letter_topic="dead", group_id="g"
        )
        assert f"{own} is " in problem
        assert "would read its own output" in problem

    def test_our_topics_must_differ(self) -> None:
        """Ready events and dead letters in one topic could not be told apart."""
        (problem,) = problems(output_topic="x", dead_letter_topic="x")
        assert "must differ" in problem

    def test_heartbeats_fit_the_session(self) -> None:
        """A member that is heard less than three times a session would be lost by one delay."""
        assert load(heartbeat_interval_ms=1000, session_timeout_ms=3000).session_timeout_ms == 3000
        (problem,) = problems(heartbeat_interval_ms=1001, session_timeout_ms=3000)
        assert "HEARTBEAT_INTERVAL_MS" in problem

    def test_the_watchdog_outwaits_a_transaction(self) -> None:
        """A transaction that a killed process left open must not end its successor."""
        assert load(watchdog_seconds=0, transaction_timeout_ms=900_000).watchdog_seconds == 0
        assert load(watchdog_seconds=30, transaction_timeout_ms=15_000).watchdog_seconds == 30
        (problem,) = problems(watchdog_seconds=29, transaction_timeout_ms=15_000)
        assert "WATCHDOG_SECONDS" in problem
        (problem,) = problems(watchdog_seconds=59, session_timeout_ms=30_000)
        assert "SESSION_TIMEOUT_MS" in problem


class TestUnknownVariables:
    """A typing error must not look like a setting."""

    def test_a_near_miss_gets_a_hint(self) -> None:
        """The message suggests the most similar name."""
        (line,) = unknown_variables({f"{PREFIX}INPUT_TOPIC": "a", "PATH": "/bin"})
        assert line.startswith(f"{PREFIX}INPUT_TOPIC ")
        assert line.endswith(f"{PREFIX}INPUT_TOPICS?")

    def test_a_far_one_is_named(self) -> None:
        """Without a similar name there is no suggestion. The value is never shown."""
        (line,) = unknown_variables({f"{PREFIX}ZZZZZZZZZZZZZZZZZZZZZZ": PASSWORD})
        assert line.startswith(f"{PREFIX}ZZZZZZZZZZZZZZZZZZZZZZ ")
        assert "?" not in line
        assert PASSWORD not in line

    def test_known_ones_are_passed_over(self) -> None:
        """Every variable, and the file of every secret."""
        known = {variable.name: "" for variable in VARIABLES}
        known |= {f"{variable.name}_FILE": "" for variable in VARIABLES if variable.is_secret}
        assert unknown_variables(known) == []

    @pytest.mark.parametrize(
        "name",
        [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_8080_TCP",
            "PORT_8080_TCP_ADDR",
            "PORT_8080_TCP_PROTO",
            "HEADLESS_SERVICE_HOST",
            "METRICS_PORT_9090_TCP_PORT",
        ],
    )
    def test_service_links_are_ignored(self, name: str) -> None:
        """Kubernetes puts these into every pod beside a Service named like our prefix."""
        environment = {PREFIX + name: "tcp://10.0.0.1:8080"}
        assert unknown_variables(environment) == []
        assert repr(Settings.load(environment)) == repr(Settings.load({}))

    def test_a_service_link_on_our_own_name_is_ignored(self) -> None:
        """A Service named checkpoint-ready-http sets HTTP_PORT in every pod of the namespace."""
        assert load(http_port="tcp://10.0.0.1:8080").http_port == load().http_port
