"""Reads and checks the configuration file of `checkpoint-ready ingest`. Errors name the place."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from consumer.errors import ConfigError
from consumer.sources.ingest_config import (
    BearerWebhook,
    BodyHmacWebhook,
    IngestConfig,
    StandardWebhook,
    Webhook,
)
from consumer.sources.mapping_checks import mapping_problems

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,100}")
_ANY_KEY: Final = "[...]"


def load_config(path: Path) -> IngestConfig:
    """Read the file. Its relative paths become relative to its folder.

    Raises:
        ConfigError: the message has one line for each problem, with the place in the file.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # also of the encoding
        raise ConfigError(f"{path}: {error}") from None
    try:
        config = msgspec.convert(document, IngestConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_with_keys(document, str(error))}") from None
    problems = [f"{path}: {problem}" for problem in _problems(config)]
    if problems:
        raise ConfigError("\n".join(problems))
    return _in_folder(config, path.parent)


def _with_keys(document: dict[str, Any], message: str) -> str:
    """Return a message of msgspec with the keys of tables, which msgspec shows as `[...]`.

    The wrong key of a table is the one that is wrong without the others. The document is changed.
    """
    while _ANY_KEY in message:
        before, _, after = message.partition(_ANY_KEY)
        key = _wrong_key(document, before.partition("$")[2])
        if key is None:
            break
        message = f"{before}.{key}{after}"
    return message


def _wrong_key(document: dict[str, Any], place: str) -> str | None:
    """Leave only the wrong key in the table at a place such as `.webhooks`, and return the key."""
    table: Any = document
    remaining = place
    while remaining:
        # A key may have dots of its own; all tables on the way have one key, or known ones.
        name = next((one for one in table if _begins_with(remaining, one)), None)
        if name is None:
            return None
        table, remaining = table[name], remaining[len(name) + 1 :]
    entries = list(table.items()) if isinstance(table, dict) else []
    for key, entry in entries:
        table.clear()
        table[key] = entry
        try:
            msgspec.convert(document, IngestConfig)
        except msgspec.ValidationError:
            return str(key)
    return None


def _begins_with(place: str, name: str) -> bool:
    return f"{place}.".startswith(f".{name}.")


def _in_folder(config: IngestConfig, folder: Path) -> IngestConfig:
    def resolve(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(folder / name) for name in names)

    def resolve_webhook(webhook: Webhook) -> Webhook:
        if isinstance(webhook, BearerWebhook):
            return replace(webhook, token_files=resolve(webhook.token_files))
        secrets = resolve(webhook.secret_files)
        if isinstance(webhook, BodyHmacWebhook):
            return replace(webhook, secret_files=secrets)
        keys = resolve(webhook.public_key_files)
        return replace(webhook, secret_files=secrets, public_key_files=keys)

    checkpoints = config.checkpoints
    return replace(
        config,
        checkpoints=replace(checkpoints, token_files=resolve(checkpoints.token_files)),
        webhooks={name: resolve_webhook(one) for name, one in config.webhooks.items()},
        accounts_file=str(folder / config.accounts_file) if config.accounts_file else "",
    )


def _problems(config: IngestConfig) -> list[str]:
    problems = []
    limits = config.limits
    if config.checkpoints.anonymous and config.checkpoints.token_files:
        problems.append("checkpoints: set either token_files or anonymous")
    if not (config.checkpoints.anonymous or config.checkpoints.token_files or config.webhooks):
        problems.append("nothing may be sent: set checkpoints.token_files, or add a webhook")
    if limits.memory_bytes < 2 * limits.body_bytes:
        problems.append("limits.memory_bytes must be at least twice limits.body_bytes")
    if limits.requests > limits.connections:
        problems.append("limits.requests must not be more than limits.connections")
    if limits.shutdown_seconds < limits.request_seconds + limits.delivery_seconds:
        problems.append(
            "limits.shutdown_seconds must be at least request_seconds plus delivery_seconds"
        )
    for name, webhook in config.webhooks.items():
        problems += [f"webhooks.{name}: {problem}" for problem in _webhook_problems(name, webhook)]
    return problems


def _webhook_problems(name: str, webhook: Webhook) -> list[str]:
    problems = []
    if not _NAME.fullmatch(name):
        problems.append("a name has at most 63 of the characters a-z, 0-9 and -")
    files = webhook.token_files if isinstance(webhook, BearerWebhook) else webhook.secret_files
    if isinstance(webhook, StandardWebhook):
        files += webhook.public_key_files
    if not files:
        problems.append("name at least one file with a secret")
    if isinstance(webhook, BodyHmacWebhook):
        headers = (webhook.header, *webhook.signed_headers)
        problems += [
            f"{header!r} is no header name"
            for header in headers
            if not _HEADER_NAME.fullmatch(header)
        ]
        if webhook.timestamp_header and webhook.timestamp_header not in webhook.signed_headers:
            problems.append("timestamp_header must be one of signed_headers")
    if isinstance(webhook, StandardWebhook) and webhook.account and webhook.checkpoint:
        problems.append("account has no effect: a webhook with a mapping has no events of jobs")
    if webhook.checkpoint is not None:
        problems += mapping_problems(webhook.checkpoint)
    return problems
