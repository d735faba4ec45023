"""Texts of other programs without secrets: known secrets, what looks like one, and all options."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from consumer.kafka.tokens.masking import masked, secrets_of_process
from tests.support.token_server import encoded

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = f"{encoded({'alg': 'none'})}.{encoded({'sub': 'ada', 'exp': 1})}."


def test_known_secrets_and_tokens() -> None:
    """In one line, and shortened."""
    text = masked(f"no\n client  secret/1 and {TOKEN} {'k' * 41}", "secret/1", "")
    assert text == "no client ******** and ******** ********"
    assert len(masked("word " * 200)) == 301


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("client_secret=hunter2 x", "client_secret=******** x"),
        ("Password: hunter", "Password: ********"),
        ("password=a,b;c&d}e f", "password=******** f"),
        ('secret: "two words" x', 'secret: "********" x'),
        ('{"apiKey": "hunter", "code": 7}', '{"apiKey": "********", "code": 7}'),
        ("Endpoint=sb://h/;SharedAccessKey=abc=", "Endpoint=sb://h/;SharedAccessKey=********"),
        ("access_token=abc&x=1", "access_token=********"),
        ("token: a1b2c3", "token: ********"),
        ("no token: connection refused", "no token: connection refused"),
        ("Authorization: Bearer abc1", "Authorization: ********"),
        ("sent Basic c2VjcmV0OjE= to it", "sent Basic ******** to it"),
        ("Basic authentication failed", "Basic authentication failed"),
        ("https://ada:hunter@h/token", "https://********@h/token"),
        (
            "GET https://h/token?key=hunter&v=2 failed",
            "GET https://h/token?key=********&v=******** failed",
        ),
        ("Invalid client secret provided.", "Invalid client secret provided."),
    ],
)
def test_what_looks_like_a_secret(text: str, shown: str) -> None:
    """By the name before it, and by its place. Words that explain an error remain."""
    assert masked(text) == shown


def test_all_options_of_a_process_are_secrets_unless_known_as_harmless(tmp_path: Path) -> None:
    """Variables, parts of them, and the content of files that they name."""
    key = tmp_path / "key"
    key.write_text("first line\nhunter2\n")
    credentials = tmp_path / "credentials.json"
    credentials.write_text(
        json.dumps(
            {"type": "service_account", "client_id": "1234567", "keys": [{"private": "p4ss"}]}
        )
    )
    found = secrets_of_process(
        {
            "MY_PROVIDER_OPTION": "open/sesame",
            "MY_PROVIDER_KEYS": "alpha,beta2",
            "MY_PROVIDER_FILE": str(key),
            "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
            "CHECKPOINT_READY_SASL_PASSWORD": "battery",
            "CHECKPOINT_READY_SASL_OAUTHBEARER_EXTENSIONS": "pool=p-17",
            "CHECKPOINT_READY_SASL_OAUTHBEARER_SCOPE": "kafka",
            "AWS_REGION": "eu-west-1",
            "MY_SERVICE_HOST": "10.0.0.1",
            "HOME": "/root",
            "SHORT": "no",
        }
    )
    text = masked(
        "open/sesame open%2Fsesame alpha beta2 hunter2 p4ss battery pool=p-17 | "
        "kafka eu-west-1 10.0.0.1 /root no service_account 1234567",
        *found,
    )
    hidden, _, rest = text.partition(" | ")
    assert set(hidden.split()) == {"********"}
    assert rest == "kafka eu-west-1 10.0.0.1 /root no service_account 1234567"


def test_what_explains_an_error_remains() -> None:
    """Switches, numbers, names of the pod and of traces, and words that begin like a secret."""
    found = secrets_of_process(
        {
            "X_ENABLED": "true",
            "X_PORT_NUMBER": "9092",
            "X_WORD": "refuse",
            "POD_NAMESPACE": "kafka",
            "OTEL_SERVICE_NAME": "consumer",
            "CHECKPOINT_READY_PORT": "tcp://10.0.0.2:8080",
            "CHECKPOINT_READY_SERVICE_HOST": "10.0.0.2",
        }
    )
    text = "kafka:9092 refused consumer at 10.0.0.2:8080, which is true"
    assert masked(text, *found) == text
    assert masked("they refuse", *found) == "they ********"


def test_a_short_secret_is_masked_beside_any_sign() -> None:
    """Also a number, if the name is that of a secret."""
    variables = {
        "MY_PASSWORD": "1234",
        "CHECKPOINT_READY_SASL_PASSWORD": "5678",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-api=p4ss",
        "MY_OPTION": "$ecret!",
    }
    text = masked("'1234' a_5678_b x-api=p4ss. ($ecret!) 12345", *secrets_of_process(variables))
    assert text == "'********' a_********_b ********. (********) 12345"


def test_files_that_cannot_be_read_are_no_problem(tmp_path: Path) -> None:
    """A folder, bytes that are no text, and a large file."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_text("x" * 70_000)
    variables = {"A": str(tmp_path), "B": str(tmp_path / "bytes"), "C": str(tmp_path / "large")}
    assert secrets_of_process({**variables, "D": "/no/such/file", "E": "a\0b/c"}) != ()


def test_a_hostile_text_costs_little_time() -> None:
    """The patterns see only the first part of a text."""
    begin = time.process_time()
    for part in ("token", "a" * 7 + ".", "://", "?a", "secret ", "Bearer "):
        masked(part * 100_000)
    assert time.process_time() - begin < 2.0
