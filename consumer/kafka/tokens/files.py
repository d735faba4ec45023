"""A token or a client assertion in a file that something else renews, such as the kubelet."""

from pathlib import Path
from typing import Final

from consumer.kafka.tokens.token import Token, TokenRefused, TokenUnavailable

MAX_FILE_BYTES: Final = 64 * 1024


def read_token_file(path: str) -> str:
    """Return the present content of a file.

    Raises:
        TokenUnavailable: it cannot be read, or is empty: it may be in the middle of a replacement.
        TokenRefused: it contains something that is no token.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokenUnavailable(f"cannot read the token file {path}: {error.strerror}") from None
    text = content.decode("ascii", errors="replace").strip()
    if not text:
        raise TokenUnavailable(f"the token file {path} is empty")
    if len(content) > MAX_FILE_BYTES:
        raise TokenRefused(f"the token file {path} has more than {MAX_FILE_BYTES} bytes")
    try:
        return Token.of(text).value.reveal()
    except TokenRefused as error:
        raise TokenRefused(f"the token file {path}: {error}") from None


class FileToken:
    """Sends the content of a file as the token. The broker decides whether it is valid.

    The file is read for each login, so a login always uses the newest token.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def extensions(self) -> dict[str, str]:
        """Return none."""
        return {}

    def life(self) -> None:
        """Return None: something else renews the file."""

    async def value(self) -> str:
        """Return the present content of the file.

        Raises:
            TokenRefused, TokenUnavailable: as ``read_token_file``.
        """
        return read_token_file(self._path)
