"""The receivers of requests: one for `/v1/checkpoints`, and one for each webhook of the file.

A receiver authenticates a request and finds the checkpoints in its body. It does no I/O.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from consumer.errors import ConfigError
from consumer.pipeline.decode.json_document import parse
from consumer.pipeline.records import InvalidRecord
from consumer.sources.authentication import (
    Verify,
    has_body_signature,
    has_public_key_signature,
    has_standard_signature,
    has_token,
    parse_public_key,
    parse_standard_secret,
)
from consumer.sources.ingest_config import (
    BearerWebhook,
    BodyHmacWebhook,
    IngestConfig,
    Mapping,
    StandardWebhook,
    Webhook,
)
from consumer.sources.ingest_metrics import OTHER
from consumer.sources.ingest_request import IngestRequest
from consumer.sources.mapping import is_wanted, map_checkpoint
from consumer.sources.problems import unauthorized
from consumer.sources.request_elements import (
    JSON,
    Element,
    content_type_of,
    json_text,
    split_elements,
    split_texts,
)
from consumer.sources.secret_files import SecretFiles
from consumer.sources.trigger import Trigger
from consumer.sources.webhook_events import is_event, may_be_event

CHECKPOINTS_PATH: Final = "/v1/checkpoints"
WEBHOOKS_PATH: Final = "/v1/webhooks/"
JOB_ENDED: Final = "job_ended"
IGNORED: Final = "ignored"
_MAX_JOB_ID_CHARS: Final = 500
_JOB_ENDINGS: Final = frozenset(
    {"fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"}
)


class Received(NamedTuple):
    """What a request holds: checkpoints, or an event without a checkpoint."""

    elements: Sequence[Element]
    event: str | None = None


class Receiver(Protocol):
    """Authenticates requests of one source, and reads their bodies."""

    @property
    def name(self) -> str:
        """The name in logs and metrics."""

    def check_head(self, request: IngestRequest) -> None:
        """Check all that can be checked before the body is read.

        Raises:
            Refusal: 401 or 415.
        """

    def read(self, request: IngestRequest, body: bytes, max_elements: int) -> Received:
        """Return what the request holds.

        Raises:
            Refusal: 401, 413 or 422.
        """


class CheckpointReceiver:
    """Receives checkpoints at `/v1/checkpoints`."""

    name = "checkpoints"

    def __init__(self, tokens: SecretFiles | None) -> None:
        """Take the tokens; None accepts every request."""
        self._tokens = tokens

    def check_head(self, request: IngestRequest) -> None:
        """Check the token and the content type; see ``Receiver``."""
        if self._tokens is not None:
            _check_token(request, self._tokens)
        request.content_type = content_type_of(request.headers)

    def read(self, request: IngestRequest, body: bytes, max_elements: int) -> Received:
        """Return the checkpoints; see ``Receiver``."""
        return _checkpoints(request, body, max_elements)


class UnknownWebhook:
    """Refuses webhooks with an unknown name like a wrong signature.

    So a stranger cannot find the names that exist.
    """

    name = OTHER

    def check_head(self, request: IngestRequest) -> None:
        """Check the content type, as for a webhook with a signature; see ``Receiver``."""
        request.content_type = content_type_of(request.headers)

    def read(self, request: IngestRequest, body: bytes, max_elements: int) -> Received:  # noqa: ARG002 - as ``Receiver``
        """Refuse every body.

        Raises:
            Refusal: 401.
        """
        raise unauthorized()


class WebhookReceiver:
    """Receives the webhooks of one source."""

    def __init__(
        self, name: str, webhook: Webhook, trigger: Trigger, clock: Callable[[], float]
    ) -> None:
        """Read the secrets.

        Raises:
            ConfigError: a file with a secret cannot be used, or the extra `sources` is missing.
        """
        self.name = f"webhooks/{name}"
        self._webhook = webhook
        self._trigger = trigger
        self._account = webhook.account if isinstance(webhook, StandardWebhook) else ""
        self._clock = clock
        if isinstance(webhook, BearerWebhook):
            self._secrets = SecretFiles(webhook.token_files)
        elif isinstance(webhook, StandardWebhook):
            self._secrets = SecretFiles(webhook.secret_files, parse_standard_secret)
            self._public_keys = SecretFiles(webhook.public_key_files, parse_public_key)
            self._verify = _import_verify() if webhook.public_key_files else None
        else:
            self._secrets = SecretFiles(webhook.secret_files)

    def check_head(self, request: IngestRequest) -> None:
        """Check the content type and a token; see ``Receiver``."""
        request.content_type = content_type_of(request.headers)
        if isinstance(self._webhook, BearerWebhook):
            _check_token(request, self._secrets)

    def read(self, request: IngestRequest, body: bytes, max_elements: int) -> Received:
        """Check the signature, and return the checkpoints or the event; see ``Receiver``."""
        if not self._is_signed(request, body):
            raise unauthorized()
        mapping = self._webhook.checkpoint
        if mapping is not None:
            return _mapped(mapping, request, body, max_elements)
        if isinstance(self._webhook, StandardWebhook) and may_be_event(request):
            event = self._event(body)
            if event is not None:
                return Received((), event)
        return _checkpoints(request, body, max_elements)

    def _is_signed(self, request: IngestRequest, body: bytes) -> bool:
        webhook, headers = self._webhook, request.headers
        secrets, now = self._secrets.current(), self._clock()
        if isinstance(webhook, StandardWebhook):
            tolerance = webhook.tolerance_seconds
            if has_standard_signature(headers, body, secrets, now, tolerance):
                return True
            keys, verify = self._public_keys.current(), self._verify
            return verify is not None and has_public_key_signature(
                headers, body, keys, now, tolerance, verify=verify
            )
        if isinstance(webhook, BodyHmacWebhook):
            return has_body_signature(headers, body, secrets, webhook, now)
        return True  # `check_head` has checked the token

    def _event(self, body: bytes) -> str | None:
        """Return the outcome for an event without a checkpoint; None for any other body."""
        try:
            document = parse(json_text(body))
        except InvalidRecord:  # the validation says why
            return None
        if not is_event(document):
            return None
        job = _job_id(document.get("data"))
        if document["type"] in _JOB_ENDINGS and job is not None:
            if self._account:
                self._trigger.job_ended(self._account, job)
            return JOB_ENDED
        return IGNORED


def make_receivers(
    config: IngestConfig, trigger: Trigger, clock: Callable[[], float] = time.time
) -> dict[str, Receiver]:
    """Return the receivers by the path that they serve; `clock` returns Unix seconds.

    Raises:
        ConfigError: a file with a secret cannot be used.
    """
    receivers: dict[str, Receiver] = {}
    checkpoints = config.checkpoints
    if checkpoints.token_files or checkpoints.anonymous:
        tokens = SecretFiles(checkpoints.token_files) if checkpoints.token_files else None
        receivers[CHECKPOINTS_PATH] = CheckpointReceiver(tokens)
    for name, webhook in config.webhooks.items():
        receivers[WEBHOOKS_PATH + name] = WebhookReceiver(name, webhook, trigger, clock)
    return receivers


def _checkpoints(request: IngestRequest, body: bytes, max_elements: int) -> Received:
    content_type = request.content_type or content_type_of(request.headers)
    return Received(split_elements(content_type, request.headers, body, max_elements))


def _mapped(mapping: Mapping, request: IngestRequest, body: bytes, max_elements: int) -> Received:
    found = [_map(mapping, text) for text in split_texts(request.content_type, body, max_elements)]
    elements = [one for one in found if one is not None]
    return Received(elements, None if elements else IGNORED)


def _map(mapping: Mapping, text: bytes) -> Element | None:
    """Return the checkpoint that a JSON text maps to, or None if the mapping ignores it."""
    try:
        document = parse(text)
    except InvalidRecord as error:
        return Element(text, problem=error)
    if not is_wanted(mapping, document):
        return None
    return Element(map_checkpoint(mapping, document), (("content-type", JSON.encode()),))


def _check_token(request: IngestRequest, tokens: SecretFiles) -> None:
    if not has_token(request.headers, tokens.current()):
        raise unauthorized()
    request.has_token = True


def _job_id(data: Any) -> str | None:  # noqa: ANN401 - JSON of any shape
    job = data.get("id") if isinstance(data, dict) else None
    # The id becomes a part of a path, in which "." and ".." have a meaning of their own.
    if not isinstance(job, str) or job in {".", ".."}:
        return None
    return job if 0 < len(job) <= _MAX_JOB_ID_CHARS else None


def _import_verify() -> Verify:
    """Import the check of Ed25519 signatures, which only signatures `v1a` need.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        from consumer.sources.ed25519 import verify  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise ConfigError(
            "public_key_files need the extra `sources`: pip install 'checkpoint-ready[sources]' "
            f"({error.name} is missing)"
        ) from None
    return verify
