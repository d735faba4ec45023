"""The accounts to poll: one TOML file, decoded into Structs. Every error names account and key."""

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from consumer.errors import ConfigError
from consumer.sources.poll.pages import MAX_EPOCH_SECONDS

DEFAULT_URLS: Final = {
    "openai": "https://api.openai.com/v1",
    "together": "https://api.together.ai/v1",
    "tinker": "https://tinker.thinkingmachines.dev/services/tinker-prod",
}
LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
HEADER_VALUE: Final = re.compile(r"[ -~]*")
# A value in the file itself would be a secret in a file that is often stored in a repository.
SECRET_HEADERS: Final = re.compile(
    r".*(authorization|key|token|secret|cookie|password).*", re.IGNORECASE
)
# They belong to the HTTP client. Another value would break the request, or its connection.
CLIENT_HEADERS: Final = re.compile(
    "connection|content-length|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade",
    re.IGNORECASE,
)
# The place in a message of msgspec, and the name of a key that it calls a field.
PLACE: Final = re.compile(r" - at `(key in )?\$\.?(.*)`$")
FIELD: Final = re.compile(r"Object (?:contains unknown|missing required) field `(.*)`")

Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=86_400)]
Texts = dict[str, str]


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account of a provider. Paths of files are relative to the folder of the TOML file."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    kind: Literal["openai", "together", "tinker", "fireworks"]
    base_url: str = ""
    """Everything before `/fine_tuning`, `/fine-tunes`, `/api/v1` (Tinker) or `/rlorTrainerJobs`.

    Default: the provider's public address. The address of Fireworks contains the account, so it has
    no default.
    """
    key_file: str = ""
    """File of the API key or of the bearer token (such as one of Entra ID)."""
    auth: Literal["bearer", "api-key", "x-api-key"] | None = None
    """Header of the key: `Authorization: Bearer`, `api-key` (Azure) or `X-API-Key` (Tinker).

    Default: `x-api-key` for Tinker, else `bearer`.
    """
    headers: Texts = {}
    header_files: Texts = {}
    """Headers whose values are in files, by their names: for gateways."""
    query: Texts = {}
    """Parameters that are added to each request, such as `api-version`."""
    created_after: dt.datetime | int | None = None
    """Jobs created before this time (with an offset, or epoch seconds) are not listed."""
    created_within_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] | None = None
    """As `created_after`, relative to the start of each pass."""
    interval_seconds: Seconds = 30.0
    max_jobs_per_pass: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 500
    max_concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    page_size: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    request_timeout_seconds: Seconds = 30.0
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 5
    max_wait_seconds: Seconds = 60.0
    """The longest wait before another attempt. After a longer `Retry-After` the pass ends."""
    max_response_bytes: Annotated[int, msgspec.Meta(ge=1024, le=256 * 1024 * 1024)] = 8 * 1024**2
    allow_http: bool = False
    """Allow `http://` to another machine, which shows the key to the network."""

    @property
    def key_header(self) -> str:
        """The name of the header of the key."""
        auth = self.auth or ("x-api-key" if self.kind == "tinker" else "bearer")
        return "Authorization" if auth == "bearer" else auth

    def oldest_job(self, now: float) -> float | None:
        """Return the creation time (epoch seconds) before which jobs are ignored, if any."""
        limits = []
        if isinstance(self.created_after, dt.datetime):
            limits.append(self.created_after.timestamp())
        elif self.created_after is not None:
            limits.append(float(self.created_after))
        if self.created_within_days is not None:
            limits.append(now - self.created_within_days * 86_400)
        return max(limits, default=None)


def load_accounts(path: Path) -> list[Account]:
    """Return the accounts of a file.

    Raises:
        ConfigError: one line for each account that is not valid; or the file cannot be read.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # also of the encoding
        raise ConfigError(f"{path} is not TOML: {error}") from None
    entries = document.pop("accounts", None)
    if document:
        raise ConfigError(
            f"{path}: unknown key {next(iter(document))}; each account is [[accounts]]"
        )
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: no account: begin each account with [[accounts]]")
    accounts: list[Account] = []
    problems: list[str] = []
    for number, entry in enumerate(entries, 1):
        label = _label(entry, number)
        try:
            accounts.append(_account(entry, path.parent, [one.name for one in accounts]))
        except ValueError as error:
            problems.append(f"{path}: {label}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return accounts


def _label(entry: Any, number: int) -> str:  # noqa: ANN401 - any TOML value
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"account {name}" if isinstance(name, str) else f"account number {number}"


def _account(entry: Any, folder: Path, others: list[str]) -> Account:  # noqa: ANN401 - any TOML value
    try:
        account = msgspec.convert(entry, Account)
    except msgspec.ValidationError as error:
        raise ValueError(_with_key(str(error))) from None
    base_url = (account.base_url or DEFAULT_URLS.get(account.kind, "")).rstrip("/")
    if not base_url:
        raise ValueError(
            "key base_url: set it to https://api.fireworks.ai/v1/accounts/ and your account"
        )
    if account.name in others:
        raise ValueError("key name: another account has this name")
    created_after = account.created_after
    if isinstance(created_after, dt.datetime) and created_after.tzinfo is None:
        raise ValueError("key created_after: add an offset, such as 2026-01-31T00:00:00Z")
    has_oldest = created_after is not None or account.created_within_days is not None
    if account.kind == "tinker" and has_oldest:
        raise ValueError(
            "key created_after or created_within_days: a run of Tinker has no time of creation"
        )
    if isinstance(created_after, int) and created_after >= MAX_EPOCH_SECONDS:
        raise ValueError("key created_after: must be in seconds, and this is in milliseconds")
    _check_url(account, base_url)
    _check_headers(account)
    return msgspec.structs.replace(
        account,
        base_url=base_url,
        key_file=str(folder / account.key_file) if account.key_file else "",
        header_files={name: str(folder / file) for name, file in account.header_files.items()},
    )


def _with_key(message: str) -> str:
    """Return a message of msgspec that begins with the key."""
    field = FIELD.match(message)
    if field:
        problem = "is not known" if "unknown" in message else "is missing"
        return f"key {field[1]}: {problem}"
    place = PLACE.search(message)
    return f"key {place[2]}: {message[: place.start()]}" if place and place[2] else message


def _check_url(account: Account, base_url: str) -> None:
    try:
        url = urlsplit(base_url)
        is_url = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_url = False
    if not is_url or url.query or url.fragment or url.username is not None:
        raise ValueError(
            "key base_url: must be https://host/path without user, query (see the key `query`) "
            "and fragment"
        )
    if url.scheme == "http" and url.hostname not in LOCAL_HOSTS and not account.allow_http:
        raise ValueError("key base_url: must be https, or set allow_http = true")


def _check_headers(account: Account) -> None:
    if not account.key_file and not account.header_files:
        raise ValueError("key key_file: name the file of the API key (or set header_files)")
    seen = {account.key_header.lower()} if account.key_file else set[str]()
    for key in ("headers", "header_files"):
        for name, value in getattr(account, key).items():
            if CLIENT_HEADERS.fullmatch(name):
                raise ValueError(f"key {key}.{name}: this header belongs to the HTTP client")
            if name.lower() in seen:
                raise ValueError(f"key {key}.{name}: another key sets this header")
            seen.add(name.lower())
            if not HEADER_NAME.fullmatch(name):
                raise ValueError(f"key {key}: {name!r} is not the name of a header")
            if key == "headers" and not HEADER_VALUE.fullmatch(value):
                raise ValueError(f"key headers.{name}: only printable ASCII is allowed")
            if key == "headers" and SECRET_HEADERS.fullmatch(name):
                raise ValueError(f"key headers.{name}: put a secret into a file: header_files")
