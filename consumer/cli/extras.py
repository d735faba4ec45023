"""Imports what only some commands need: the packages of the extra `sources`."""

from collections.abc import Callable
from typing import Any

from consumer.errors import ConfigError


def import_provider_client(user: str) -> Callable[..., Any]:
    """Return `open_client` of the HTTP client for providers. `user` is what needs it.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        from consumer.sources.poll.http_client import open_client  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{user} needs the extra `sources`: pip install 'checkpoint-ready[sources]' "
            f"({error.name} is missing)"
        ) from None
    return open_client
