"""The secret headers of an account. They are read from their files at the start of each pass."""

from pathlib import Path

from consumer.sources.poll.accounts import HEADER_VALUE, Account
from consumer.sources.poll.errors import PassFailed


def secret_headers(account: Account) -> dict[str, str]:
    """Read the files and return the headers.

    Raises:
        PassFailed: a file cannot be read, is empty, or is no header value.
    """
    headers = {name: _read(path) for name, path in account.header_files.items()}
    if account.key_file:
        key = _read(account.key_file)
        header = account.key_header
        headers[header] = f"Bearer {key}" if header == "Authorization" else key
    return headers


def _read(path: str) -> str:
    """Return the content without white space at both ends. No error shows a part of the content."""
    try:
        content = Path(path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise PassFailed(f"cannot read the secret in {path}: {error.strerror}") from None
    except ValueError:
        raise PassFailed(f"the secret in {path} is not ASCII text") from None
    if not content or not HEADER_VALUE.fullmatch(content):
        raise PassFailed(f"the secret in {path} must be one line of text")
    return content
