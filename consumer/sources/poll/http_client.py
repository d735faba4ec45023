"""GET requests to one account: retries, `Retry-After`, time and size limits, concurrency.

The only module that imports aiohttp, which is the extra `sources`. No log line and no error has a
header, a query or a body of the provider: each of them may contain a secret.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlencode

import aiohttp
import structlog
from yarl import URL

from consumer import __version__
from consumer.sources.poll.accounts import Account
from consumer.sources.poll.errors import ListingFailed, NotFound, NotReachable, PassFailed
from consumer.sources.poll.metrics import PollMetrics
from consumer.sources.poll.retry_delay import (
    MAX_RETRY_AFTER_SECONDS,
    backoff_seconds,
    is_retried,
    retry_after_seconds,
)
from consumer.sources.poll.secrets import secret_headers

CHUNK_BYTES: Final = 64 * 1024
REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
REDIRECTS: Final = range(300, 400)
log = structlog.get_logger(__name__)


class _Failure(NamedTuple):
    """An attempt without a usable response, which another attempt may have."""

    reason: str
    retry_after: float | None = None


class HttpClient:
    """Sends the requests of one account; at most `max_concurrency` at a time."""

    def __init__(
        self, account: Account, session: aiohttp.ClientSession, metrics: PollMetrics
    ) -> None:
        self._account = account
        self._session = session
        self._metrics = metrics
        self._slots = asyncio.Semaphore(account.max_concurrency)
        self._headers: Mapping[str, str] = {}
        # The monotonic time before which no request is sent, because the provider asked for it.
        self._not_before = 0.0
        self.requests = 0
        """The number of requests sent."""

    @property
    def blocked_seconds(self) -> float:
        """How long the provider has asked to send no request from now on."""
        return max(0.0, self._not_before - time.monotonic())

    def read_secrets(self) -> None:
        """Read the files of the secrets again.

        Raises:
            PassFailed: a secret cannot be used.
        """
        self._headers = {
            "Accept": "application/json",
            # Bounds the response by what is received: a compressed one could be much larger.
            "Accept-Encoding": "identity",
            "User-Agent": f"checkpoint-ready/{__version__}",
            **self._account.headers,
            **secret_headers(self._account),
        }

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """Return the body of a response with status 200.

        Raises:
            PassFailed: the provider refuses the credentials, or asks for a wait that is too long.
            NotReachable: every attempt failed.
            ListingFailed: the provider refuses this request, or the response is too large.
        """
        parameters = urlencode({**self._account.query, **query})
        url = URL(f"{self._account.base_url}{path}?{parameters}", encoded=True)
        for attempt in range(self._account.max_attempts):
            async with self._slots:
                await self._wait_for_provider()
                outcome = await self._attempt(url, path)
            if isinstance(outcome, bytes):
                return outcome
            failure = outcome
            delay = backoff_seconds(attempt)
            if failure.retry_after is not None:
                delay = max(delay, self._block(failure.retry_after))
            if delay > self._account.max_wait_seconds:
                raise PassFailed(f"GET {path}: {failure.reason}, and asks to wait {delay:.0f} s")
            if attempt + 1 < self._account.max_attempts:
                await asyncio.sleep(delay)
        raise NotReachable(f"GET {path}: {failure.reason}, {attempt + 1} attempts")

    def _block(self, retry_after: float) -> float:
        """Send no request for this time, or for the longest allowed one; return which it is.

        Responses to requests that were sent together ask for the same: the first one is logged.
        """
        seconds = min(retry_after, MAX_RETRY_AFTER_SECONDS)
        if seconds < retry_after and not self.blocked_seconds:
            log.warning(
                "retry_after_too_long", account=self._account.name, waiting_seconds=round(seconds)
            )
        self._not_before = max(self._not_before, time.monotonic() + seconds)
        return seconds

    async def _wait_for_provider(self) -> None:
        seconds = self.blocked_seconds
        if seconds > self._account.max_wait_seconds:
            raise PassFailed(f"the provider asks to wait {seconds:.0f} s")
        if seconds:
            await asyncio.sleep(seconds)

    async def _attempt(self, url: URL, path: str) -> bytes | _Failure:
        status: int | None = None
        self.requests += 1
        try:
            # aiohttp's own limit of the total time may end with the headers.
            async with asyncio.timeout(self._account.request_timeout_seconds):
                async with self._session.get(
                    url, headers=self._headers, allow_redirects=False
                ) as response:
                    status = response.status
                    if status == HTTPStatus.OK:
                        return await self._read(response, path)
                    return self._failure(response, path)
        except TimeoutError:
            status = None
            seconds = self._account.request_timeout_seconds
            return _Failure(f"no complete response within {seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            status = None
            return _Failure(f"no connection or a broken one ({_describe(error)})")
        finally:
            self._metrics.count_request(self._account.name, status)

    async def _read(self, response: aiohttp.ClientResponse, path: str) -> bytes:
        limit = self._account.max_response_bytes
        body = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            body += chunk
            if len(body) > limit:
                raise ListingFailed(
                    f"GET {path}: the response is larger than max_response_bytes ({limit})"
                )
        return bytes(body)

    def _failure(self, response: aiohttp.ClientResponse, path: str) -> _Failure:
        """Return a failure to retry, or raise one that another attempt would repeat."""
        status = response.status
        if is_retried(status):
            retry_after = retry_after_seconds(response.headers.get("Retry-After"), time.time())
            return _Failure(f"status {status}", retry_after)
        if status in REFUSED:
            files = ", ".join(
                filter(None, (self._account.key_file, *self._account.header_files.values()))
            )
            raise PassFailed(
                f"GET {path}: status {status}: the provider refuses the credentials in {files}"
            )
        if status in REDIRECTS:
            raise PassFailed(
                f"GET {path}: status {status}: redirects are not followed, because another host "
                "would receive the credentials; correct base_url"
            )
        error = NotFound if status == HTTPStatus.NOT_FOUND else ListingFailed
        raise error(f"GET {path}: status {status}")


def _describe(error: BaseException) -> str:
    """Return the kind of error, and the system's reason. Other texts may contain headers."""
    system = error if isinstance(error, OSError) else None
    reason = f": {system.strerror}" if system is not None and system.strerror else ""
    return f"{type(error).__name__}{reason}"


@contextlib.asynccontextmanager
async def open_client(account: Account, metrics: PollMetrics) -> AsyncIterator[HttpClient]:
    """Open the connections of one account while the context lasts."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=account.max_concurrency),
        timeout=aiohttp.ClientTimeout(total=account.request_timeout_seconds),
        trust_env=False,
    ) as session:
        yield HttpClient(account, session, metrics)
