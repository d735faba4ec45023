"""Sends the planned HTTP requests of the demo to `checkpoint-ready ingest`, and retries them."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from dev.demo_producer import DemoError

if TYPE_CHECKING:
    from dev.demo_requests import PlannedRequest, Secrets
    from tests.support.documents import Document

REQUEST_SECONDS = 15.0
RETRY_SECONDS = 0.1
GIVE_UP_SECONDS = 45.0
NO_ANSWER = 0
RETRIED = (NO_ANSWER, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class RequestSender:
    """Sends requests in their order in a thread. A context manager, which ends the thread."""

    def __init__(self, port: int, secrets: Secrets, requests: list[PlannedRequest]) -> None:
        """Prepare; entering the context starts the thread."""
        self.accepted: dict[str, Document] = {}
        """The checkpoints that the receiver has acknowledged (202), by their ids."""
        self.answers: Counter[int] = Counter()
        self.retries = 0
        self.sent = 0
        self.is_waiting = False
        """Whether a request is sent and not answered."""
        self.requests = len(requests)
        self._port = port
        self._secrets = secrets
        self._requests = requests
        self._due = 0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="requests", daemon=True)

    def __enter__(self) -> Self:
        """Start to send."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, at the latest when the request in progress is answered or fails."""
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
        self._thread.join(REQUEST_SECONDS)

    @property
    def is_done(self) -> bool:
        """Whether every request has its planned answer."""
        return self.sent == self.requests

    def send_up_to(self, share: float) -> None:
        """Send the requests that are due after this share of the time. Raise DemoError."""
        with self._changed:
            self._due = max(self._due, int(share * self.requests))
            self._changed.notify_all()
        if self._failure is not None:
            raise DemoError(self._failure)

    def _run(self) -> None:
        for number, request in enumerate(self._requests):
            with self._changed:
                self._changed.wait_for(partial(self._may_continue, number))
            if self._stop.is_set():
                return
            try:
                self._deliver(request, f"delivery-{number}")
            except DemoError as error:
                self._failure = str(error)
                return
            self.sent += 1

    def _may_continue(self, number: int) -> bool:
        return self._stop.is_set() or self._due > number

    def _deliver(self, request: PlannedRequest, delivery: str) -> None:
        """Send a request until it is answered; a crash of the receiver may lose the answer."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while (status := self._post(request, delivery)) in RETRIED:
            self.retries += 1
            if time.monotonic() > deadline:
                raise DemoError(f"{request.path}: no answer in time, the last status is {status}")
            if self._stop.wait(RETRY_SECONDS):
                return
        if status != request.status:
            raise DemoError(f"{request.path}: status {status}, expected {request.status}")
        self.answers[status] += 1
        self.accepted |= request.contents

    def _post(self, request: PlannedRequest, delivery: str) -> int:
        """Return the status of the answer; `NO_ANSWER` without one."""
        headers = self._secrets.headers(request, delivery, int(time.time()))
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=REQUEST_SECONDS)
        try:
            connection.request("POST", request.path, request.body, headers)
            self.is_waiting = True
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return NO_ANSWER
        finally:
            self.is_waiting = False
            connection.close()
        wanted = {"accepted": len(request.contents)}
        if response.status == HTTPStatus.ACCEPTED and json.loads(body) != wanted:
            raise DemoError(f"{request.path}: the answer is {body!r}, expected {wanted}")
        return response.status
