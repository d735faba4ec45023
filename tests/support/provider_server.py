"""A local provider that behaves as the documented lists of fine-tuning jobs and checkpoints do.

OpenAI's shape: newest first, 10 checkpoints and 20 jobs in a page by default, the cursor `after`,
`has_more`. Together's shape: one response for each list, without ids of checkpoints. The shapes of
Tinker and Fireworks are in `provider_shapes`.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support import documents, provider_shapes
from tests.support.server_thread import ServerThread
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEY = "sk-local-secret"
DEFAULT_CHECKPOINTS = 10
DEFAULT_JOBS = 20
MAX_PAGE = 100
FIRST_TIME = 1_750_000_000


class Response(NamedTuple):
    """A response of the server."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    delay_seconds: float = 0.0
    is_cut: bool = False
    """Close the connection in the middle of the body."""


class Request(NamedTuple):
    """A request that the server received."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


class ProviderServer(ServerThread):
    """The server on a free port; a context manager that stops it. All times are in order."""

    def __init__(self, *, key: str = KEY, honours_limit: bool = True) -> None:
        """Open the port; entering the context starts the server."""
        self.key = key
        self.jobs: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        # Each is asked before a response is made, and may replace it.
        self.faults: list[Callable[[Request], Response | None]] = []
        self.is_oldest_first = False
        self.hidden: set[str] = set()
        """Ids of checkpoints that are not visible yet."""
        self._honours_limit = honours_limit
        self._checkpoints: dict[str, list[bytes]] = {}  # oldest first
        self._ids: dict[str, list[str]] = {}
        self._clock = itertools.count(FIRST_TIME)
        self._lock = threading.Lock()
        super().__init__(_Server(("127.0.0.1", 0), self._handler()))

    @property
    def url(self) -> str:
        """The value of `base_url`."""
        return f"{self.origin}/v1"

    @property
    def root(self) -> str:
        """The address without a path, the value of `base_url` for Tinker."""
        return self.origin

    @property
    def ids(self) -> list[str]:
        """The ids of all checkpoints."""
        return [one for ids in self._ids.values() for one in ids]

    def add_job(self, job: str, *, status: str = "running", checkpoints: int = 0) -> None:
        """Add a job, which becomes the newest."""
        with self._lock:
            self.jobs[job] = {
                "id": job,
                "object": "fine_tuning.job",
                "status": status,
                "created_at": next(self._clock),
                "finished_at": None,
                "model": "gpt-4o-mini-2024-07-18",
            }
            self._checkpoints[job] = []
            self._ids[job] = []
        self.add_checkpoints(job, checkpoints)

    def add_checkpoints(self, job: str, count: int) -> list[str]:
        """Add checkpoints to a job; return their ids."""
        with self._lock:
            first = len(self._ids[job])
            new = [f"ftckpt_{job}_{number:05}" for number in range(first, first + count)]
            for number, one in enumerate(new, first):
                document = documents.checkpoint(
                    id=one,
                    fine_tuning_job_id=job,
                    created_at=next(self._clock),
                    step_number=number,
                    metrics={"step": number, "train_loss": 1.5 / (number + 1)},
                )
                # White space and order of its own: the poller must keep these bytes.
                self._checkpoints[job].append(json.dumps(document, indent=1).encode())
            self._ids[job] += new
        return new

    def end_job(self, job: str, status: str = "succeeded") -> None:
        """End a job."""
        self.jobs[job]["status"] = status

    def raw(self, checkpoint: str) -> bytes:
        """Return the bytes of a checkpoint as a page has them."""
        job = next(job for job, ids in self._ids.items() if checkpoint in ids)
        return self._checkpoints[job][self._ids[job].index(checkpoint)]

    def count(self, part: str) -> int:
        """Return the number of requests whose path ends with this text."""
        return sum(request.path.endswith(part) for request in self.requests)

    def wait_for_request(self) -> None:
        """Wait until one more request has arrived."""
        seen = len(self.requests)
        wait_until(lambda: len(self.requests) > seen, poll_seconds=0.001)

    def respond(self, request: Request) -> Response:
        """Return the response to a request."""
        for fault in list(self.faults):
            response = fault(request)
            if response is not None:
                return response
        # Tinker reads one header only, and the others do not read it.
        names = ("x-api-key",) if request.path.startswith("/api/") else ("authorization", "api-key")
        given = next((found for name in names if (found := request.headers.get(name))), "")
        if given.removeprefix("Bearer ") != self.key:
            return Response(401, f'{{"error":"Incorrect API key provided: {given}"}}'.encode())
        with self._lock:
            return self._page(request)

    def _page(self, request: Request) -> Response:
        words = [unquote(word) for word in request.path.removeprefix("/v1/").split("/")]
        match words:
            case ["fine_tuning", "jobs"]:
                return self._list(list(self.jobs), self._job, request.query, DEFAULT_JOBS)
            case ["fine_tuning", "jobs", job, "checkpoints"] if job in self.jobs:
                bodies = dict(zip(self._ids[job], self._checkpoints[job], strict=True))
                return self._list(
                    self._ids[job], bodies.__getitem__, request.query, DEFAULT_CHECKPOINTS
                )
            case ["fine-tunes"]:
                return _json({"data": list(self.jobs.values())})
            case ["fine-tunes", job, "checkpoints"] if job in self.jobs:
                return _json({"data": [_together(raw) for raw in self._checkpoints[job]]})
        return self._other_page(words, request.query)

    def _other_page(self, words: list[str], query: dict[str, str]) -> Response:
        """Return a page of Tinker or Fireworks."""
        jobs = list(self.jobs.values())
        match words:
            case ["", "api", "v1", "training_runs"]:
                return _json(provider_shapes.tinker_runs(jobs, query))
            case ["", "api", "v1", "training_runs", job, "checkpoints"] if job in self.jobs:
                return _json(provider_shapes.tinker_checkpoints(job, self._documents(job)))
            case ["accounts", "acme", "rlorTrainerJobs"]:
                return _json(provider_shapes.fireworks_jobs(jobs, query))
            case ["accounts", "acme", "rlorTrainerJobs", job, "checkpoints"] if job in self.jobs:
                found = self._documents(job)
                return _json(provider_shapes.fireworks_checkpoints(job, found, query))
        return Response(404, b'{"error":"not found"}')

    def _documents(self, job: str) -> list[dict[str, Any]]:
        return [json.loads(raw) for raw in self._checkpoints[job]]

    def _job(self, job: str) -> bytes:
        return json.dumps(self.jobs[job]).encode()

    def _list(
        self,
        oldest_first: list[str],
        render: Callable[[str], bytes],
        query: dict[str, str],
        default: int,
    ) -> Response:
        limit = int(query.get("limit", default)) if self._honours_limit else default
        limit = min(limit, MAX_PAGE)
        shown = oldest_first if self.is_oldest_first else oldest_first[::-1]
        shown = [one for one in shown if one not in self.hidden]
        start = 0
        if "after" in query:
            start = shown.index(query["after"]) + 1
        page = shown[start : start + limit]
        has_more = b"true" if start + limit < len(shown) else b"false"
        data = b",\n".join(map(render, page))
        return Response(
            200, b'{"object":"list","data":[' + data + b'],"has_more":' + has_more + b"}"
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # a response is written in two parts

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(url.path, dict(parse_qsl(url.query)), headers)
                provider.requests.append(request)
                response = provider.respond(request)
                time.sleep(response.delay_seconds)  # a slow provider
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.body) + response.is_cut))
                self.end_headers()
                self.wfile.write(response.body)
                self.close_connection = response.is_cut

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Ignore clients that are killed."""


def once(response: Response, part: str = "") -> Callable[[Request], Response | None]:
    """Return a fault for the first request whose path contains this text."""
    return times(1, response, part)


def times(count: int, response: Response, part: str = "") -> Callable[[Request], Response | None]:
    """Return a fault for the first `count` requests whose path contains this text."""
    left = [count]

    def fault(request: Request) -> Response | None:
        if part not in request.path or not left[0]:
            return None
        left[0] -= 1
        return response

    return fault


def _together(raw: bytes) -> dict[str, Any]:
    document = json.loads(raw)
    return {
        "step": document["step_number"],
        "created_at": f"2026-01-01T00:00:{document['step_number'] % 60:02}Z",
        "path": f"s3://bucket/{document['step_number']}",
        "checkpoint_type": "Intermediate",
    }


def _json(document: object) -> Response:
    return Response(200, json.dumps(document).encode())
