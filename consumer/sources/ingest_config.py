"""The configuration of `checkpoint-ready ingest`, as Structs. `ingest_config_file` reads the file.

Paths of files are relative to the folder of the configuration file.
"""

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

MIB: Final = 1024 * 1024
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
"""A JSON pointer in braces, in a template."""

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[limits]`. Beyond a limit the sender gets 413, 429 or 503."""

    body_bytes: Annotated[int, Meta(ge=1024, le=256 * MIB)] = MIB
    """Largest body of a request."""
    elements: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Largest number of checkpoints in a request."""
    memory_bytes: Annotated[int, Meta(ge=2 * MIB)] = 64 * MIB
    """Largest total of the bodies that are being received, and of the unacknowledged records."""
    requests: Positive = 256
    """Largest number of requests that are handled at the same time, after their bodies arrived."""
    connections: Positive = 512
    """Largest number of open connections, also of those whose requests are incomplete."""
    request_seconds: Seconds = 10.0
    """Time for a client to send one request."""
    delivery_seconds: Seconds = 8.0
    """Time for Kafka to acknowledge the records of one request."""
    shutdown_seconds: Seconds = 20.0
    """Time for accepted requests at the shutdown."""
    triggered_jobs: Positive = 1000
    """Largest number of jobs of an account that wait for a triggered listing."""
    head_bytes: Annotated[int, Meta(ge=1024, le=MIB)] = 16 * 1024
    """Largest request line and headers of a request."""


class Checkpoints(Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[checkpoints]`: who may send to `/v1/checkpoints`."""

    token_files: tuple[str, ...] = ()
    anonymous: bool = False
    """Accept requests without a token, for example behind a proxy that authenticates."""


class Field(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the value of a checkpoint's field comes from; exactly one member is set."""

    pointer: str = ""
    """JSON pointer (RFC 6901) into the body."""
    template: str = ""
    """Text with JSON pointers in braces: ``{/data/name}-{/data/version}``."""
    value: Any = msgspec.UNSET
    """A constant."""


class Mapping(Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[webhooks.NAME.checkpoint]`: how a body becomes a checkpoint."""

    fields: dict[str, Field]
    metrics: dict[str, Field] = {}
    when: dict[str, Any] = {}
    """JSON pointers and the values that they must have; other bodies are ignored."""


class _Webhook(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    checkpoint: Mapping | None = None
    """How to map the body; without it the body holds checkpoints."""


class StandardWebhook(_Webhook, frozen=True, tag="standard-webhooks", kw_only=True):
    """Signed as Standard Webhooks 1.0 says: OpenAI, Azure OpenAI and others."""

    secret_files: tuple[str, ...] = ()
    """Files of the secrets `whsec_…`, for signatures `v1`."""
    public_key_files: tuple[str, ...] = ()
    """Files of the public keys `whpk_…`, for signatures `v1a`."""
    account: str = ""
    """The account of the accounts file whose jobs the events name; empty: events are counted."""
    tolerance_seconds: Annotated[int, Meta(ge=1, le=3600)] = 300


class BodyHmacWebhook(_Webhook, frozen=True, tag="hmac-body", kw_only=True):
    """Signed by an HMAC of the body, or of headers and the body joined by dots."""

    secret_files: tuple[str, ...]
    header: str
    """The header with the signature."""
    encoding: Annotated[str, Meta(pattern="^(hex|base64)$")] = "hex"
    algorithm: Annotated[str, Meta(pattern="^(sha256|sha512)$")] = "sha256"
    prefix: str = ""
    """What precedes the signature in its header, for example `sha256=`."""
    signed_headers: tuple[str, ...] = ()
    """Headers that are signed before the body, each followed by a dot."""
    timestamp_header: str = ""
    """One of `signed_headers` with the time of the request in Unix seconds."""
    tolerance_seconds: Annotated[int, Meta(ge=1, le=3600)] = 300


class BearerWebhook(_Webhook, frozen=True, tag="bearer", kw_only=True):
    """Authenticated by a token in the header `Authorization`."""

    token_files: tuple[str, ...]


Webhook = StandardWebhook | BodyHmacWebhook | BearerWebhook


class IngestConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    port: Annotated[int, Meta(ge=1, le=65535)] = 8081
    checkpoints: Checkpoints = Checkpoints()
    webhooks: dict[str, Webhook] = {}
    limits: Limits = Limits()
    accounts_file: str = ""
    """The accounts whose ended jobs are listed: the file of `checkpoint-ready poll`."""

    @property
    def triggered_accounts(self) -> dict[str, str]:
        """The accounts that webhooks name, by the name of the webhook."""
        return {
            name: webhook.account
            for name, webhook in self.webhooks.items()
            if isinstance(webhook, StandardWebhook) and webhook.account
        }
