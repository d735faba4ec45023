"""The receiver against senders that are malformed, slow, large, or too many."""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import socket
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.deployment import Deployment
from tests.support.http_client import ask
from tests.support.ingest import TOKEN, Ingest, post, start_ingest
from tests.support.records import checkpoint
from tests.support.standard_webhooks import signed_headers
from tests.support.topics import Names
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster

LIMITS = """body_bytes = 65536
elements = 50
memory_bytes = 4194304
requests = 60
connections = 100
request_seconds = 2
head_bytes = 4096
"""
WEBHOOKS = """
[webhooks.openai]
kind = "standard-webhooks"
secret_files = ["{secret}"]
[webhooks.github]
kind = "hmac-body"
secret_files = ["{secret}"]
header = "X-Hub-Signature-256"
prefix = "sha256="
signed_headers = ["X-Delivery"]
[webhooks.wandb]
kind = "bearer"
token_files = ["{token}"]
[webhooks.wandb.checkpoint.fields]
id = {{ pointer = "/id" }}
created_at = {{ pointer = "/created_at" }}
fine_tuning_job_id = {{ pointer = "/fine_tuning_job_id" }}
fine_tuned_model_checkpoint = {{ pointer = "/fine_tuned_model_checkpoint" }}
step_number = {{ pointer = "/step_number" }}
"""
PATHS = ("/v1/checkpoints", "/v1/webhooks/openai", "/v1/webhooks/github", "/v1/webhooks/wandb")
BEARER = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
HEAD = b"POST /v1/checkpoints HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + BEARER + b"Transfer-Encoding: chunked\r\n\r\n"
HEADER_NAMES = (
    b"Content-Type",
    b"Content-Encoding",
    b"Authorization",
    b"webhook-id",
    b"webhook-timestamp",
    b"webhook-signature",
    b"X-Hub-Signature-256",
    b"X-Delivery",
    b"ce-specversion",
    b"ce-id",
    b"traceparent",
    b"tracestate",
    b"Expect",
    b"Upgrade",
    b"Connection",
)
TYPES = (
    b"application/json",
    b"application/x-ndjson",
    b"application/cloudevents+json",
    b"application/cloudevents-batch+json",
)
FUZZED = 300
SECRET = b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FORBIDDEN_LOG = ("Traceback", "ingest_failed", "library_message", TOKEN, SECRET.decode())
ALLOWED = {100, 202, 400, 401, 404, 405, 413, 415, 422, 429, 431, 503}
header_values = st.one_of(
    st.binary(max_size=60).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
    st.sampled_from([*TYPES, b"1.0", b"v1,AAAA", b"1614265330", b"100-continue", b"gzip"]),
)
json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
bodies = st.one_of(
    st.binary(max_size=300),
    json_like.map(lambda document: repr(document).replace("'", '"').encode("utf-8", "replace")),
    st.just(checkpoint("ftckpt_fuzz")),
    st.just(b'{"type":"fine_tuning.job.succeeded","data":{"id":"ftjob_1"}}'),
    st.just(b'{"type":"batch.completed","data":null}'),
    st.just(b"[" * 200),
    st.just(b'{"object":"list","data":' + b"[1]" * 3),
)


@pytest.fixture(scope="module")
def ingest(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """Start a receiver with small limits for all tests of this module."""
    folder = tmp_path_factory.mktemp("ingest")
    names = Names(f"ingest-limits-{folder.parent.name}-{time.time_ns()}")
    secret = folder / "secret"
    secret.write_bytes(b"whsec_" + SECRET)
    more = WEBHOOKS.format(secret=secret, token=folder / "token")
    with Deployment(cluster, names) as deployment:
        ingest = start_ingest(deployment, folder, more, limits=LIMITS)
        yield ingest
        assert ingest.process.terminate() == 0
        log = list(map(str, ingest.process.lines))
        assert len(log) > FUZZED
        assert [line for line in log if any(word in line for word in FORBIDDEN_LOG)] == []


def connect(ingest: Ingest) -> socket.socket:
    """Open a connection to the receiver."""
    return socket.create_connection(("127.0.0.1", ingest.port), timeout=20)


def exchange(ingest: Ingest, request: bytes) -> bytes:
    """Send these bytes, close the sending side, and return all that is answered."""
    answer = b""
    with connect(ingest) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def status_of(answer: bytes) -> int:
    """Return the status of an answer; 0 if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def request_bytes(path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return a request with these headers."""
    head = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s" % (
        path.encode(),
        len(body),
        head,
        body,
    )


def authentication(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return headers that are right for every path."""
    standard = signed_headers(body, base64.b64decode(SECRET))
    plain = hmac.digest(b"whsec_" + SECRET, b"d." + body, "sha256")
    return [
        (b"Authorization", b"Bearer " + TOKEN.encode()),
        *((name.encode(), value.encode()) for name, value in standard.items()),
        (b"X-Delivery", b"d"),
        (b"X-Hub-Signature-256", b"sha256=" + plain.hex().encode()),
    ]


@settings(
    max_examples=FUZZED, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    path=st.sampled_from(PATHS),
    headers=st.lists(st.tuples(st.sampled_from(HEADER_NAMES), header_values), max_size=6),
    content_type=st.sampled_from(TYPES),
    has_token=st.booleans(),
    body=bodies,
)
@example(
    path=PATHS[1],
    headers=[(b"webhook-signature", b"\xff")],
    content_type=TYPES[0],
    has_token=False,
    body=b"{}",
)
def test_no_request_causes_an_internal_error(  # noqa: PLR0913 - the parts of a request
    ingest: Ingest,
    path: str,
    headers: list[tuple[bytes, bytes]],
    content_type: bytes,
    *,
    has_token: bool,
    body: bytes,
) -> None:
    """Every answer is one of the documented ones; the log is checked at the end of the module."""
    own = [(b"Content-Type", content_type)]
    if has_token:
        own += authentication(body)
    assert status_of(exchange(ingest, request_bytes(path, own + headers, body))) in ALLOWED


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.binary(min_size=1, max_size=400) | st.binary(max_size=200).map(CHUNKED.__add__))
def test_no_bytes_cause_an_internal_error(ingest: Ingest, sent: bytes) -> None:
    """What is no HTTP is refused with 400, or the connection is closed."""
    assert status_of(exchange(ingest, sent)) in ALLOWED | {0}


def test_each_limit_has_its_answer(ingest: Ingest) -> None:
    """A limit is an answer of its own, and the next request is served."""
    one = checkpoint("ftckpt_1")
    big = b"[" + b" " * 70_000 + b"]"
    assert ingest.post(one, token=None).status == 401
    assert ingest.post(one, token="wrong-token-0123456789").status == 401
    assert ingest.post(one, path="/v1/webhooks/none").status == 401
    assert ingest.post(one, path="/v1/checkpoints/").status == 404
    assert ingest.post(one, path="/v1/checkpoints?" + "x" * 5000).status == 431
    assert ask(ingest.port, "/v1/checkpoints").status == 405
    assert ingest.post(one, "text/plain").status == 415
    assert ingest.post(one, headers={"Content-Encoding": "gzip"}).status == 415
    assert ingest.post(one, "application/json; charset=latin-1").status == 415
    assert ingest.post(big).status == 413
    assert ingest.post(b"[" + b"1," * 50 + b"1]").status == 413
    assert ingest.post(one, headers={"x": "y" * 5000}).status == 431
    assert ingest.post(one, headers={"x": "y" * 200_000}).status == 431
    assert ingest.post(one).json == {"accepted": 1}


def test_a_chunked_body_is_limited_too(ingest: Ingest) -> None:
    """There is no Content-Length that would announce it."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert status_of(exchange(ingest, CHUNKED + chunk * 2 + b"0\r\n\r\n")) == 413


def test_slow_senders_are_closed_and_do_not_keep_others_out(ingest: Ingest) -> None:
    """A thousand connections send a part of a request, and honest senders are served meanwhile."""
    parts = (b"", b"POST /v1", HEAD + BEARER + b"Content-Length: 500\r\n\r\n{")
    with contextlib.ExitStack() as stack:
        slow = []
        slowest = 0.0
        for number in range(1000):
            connection = stack.enter_context(connect(ingest))
            with contextlib.suppress(ConnectionError):
                connection.sendall(parts[number % len(parts)])
            slow.append(connection)
            if number % 50 == 0:
                began = time.monotonic()
                assert ingest.post(checkpoint(f"ftckpt_honest_{number}")).status == 202
                slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1.0, slowest
        metrics = ask(ingest.probes, "/metrics").text
        held = float(metrics.split("\ncheckpoint_ready_ingest_connections ")[1].split()[0])
        assert held <= 100
        for connection in slow[-100:]:
            connection.settimeout(10)
            with contextlib.suppress(ConnectionError):
                while connection.recv(1000):
                    pass

    def is_free() -> bool:
        text = ask(ingest.probes, "/metrics").text
        return "\ncheckpoint_ready_ingest_memory_bytes 0.0" in text

    wait_until(is_free, what="the end of all reservations")


def test_a_kept_connection_serves_many_requests(ingest: Ingest) -> None:
    """Also after refused requests whose body was not read, and with pipelining."""
    body = checkpoint("ftckpt_kept")
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    good, bad = HEAD + BEARER + length + body, HEAD + length + body
    with connect(ingest) as connection:
        connection.sendall(good + bad + good + bad + good[:100])
        connection.sendall(good[100:])
        answer = b""
        while answer.count(b"HTTP/1.1 ") < 5:
            chunk = connection.recv(65536)
            assert chunk, answer
            answer += chunk
    found = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert found == [202, 401, 202, 401, 202]


def test_an_answer_does_not_wait_for_acknowledgements_of_packets(ingest: Ingest) -> None:
    """With Nagle's algorithm each answer on a kept connection would take 40 ms or more."""
    connection = http.client.HTTPConnection("127.0.0.1", ingest.port, timeout=20)
    seconds = []
    for number in range(20):
        began = time.monotonic()
        body = checkpoint(f"ftckpt_quick_{number}")
        assert post(connection, body, Authorization=f"Bearer {TOKEN}").status == 202
        seconds.append(time.monotonic() - began)
    connection.close()
    assert min(seconds) < 0.03, seconds
