"""Masks what may be a secret in texts of other programs, before an operator sees them."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

import msgspec

from consumer.config import PREFIX, VARIABLES

MASK: Final = "********"
MAX_MESSAGE_CHARS: Final = 300
# Bounds the time of the patterns. It is more than what is shown.
MAX_READ_CHARS: Final = 2_000
MAX_FILE_BYTES: Final = 64 * 1024
# A shorter text is more often a word of a message than a secret.
LEAST_SECRET_CHARS: Final = 4
# A shorter secret is masked only as a word of its own, because it is often a part of other words.
LEAST_PART_CHARS: Final = 8
# Three parts in base64url: a signed token. Also any other long text without a separator.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){2,}|[A-Za-z0-9+/_=-]{40,}")
_USER_OF_URL: Final = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_QUERY_VALUE: Final = re.compile(r"(?<=[?&])([^\s=&#]+=)[^\s&#\"']+")
# `client_secret=x`, `"password": "x"`, `Authorization: Bearer x`.
_AFTER_NAME: Final = re.compile(
    r"(?i)(?P<name>(?:secret|passw|pwd|api[-_]?key|access[-_]?key|private[-_]?key|"
    r"(?P<weak>token|assertion|credential|signature|authorization))[\w.-]*[\"']?\s*"
    r"(?P<sign>[=:])\s*)(?P<quote>[\"']?)"
    r"(?P<value>(?<=[\"'])[^\"']+|(?:(?:bearer|basic)\s+)?[^\s\"']+)"
)
_AFTER_SCHEME: Final = re.compile(r"(?P<name>\b(?:[Bb]earer|[Bb]asic)\s+)(?P<value>[^\s\"']+)")
_LONG_CHARS: Final = 16
# The variables of a process that no login keeps secret. All others may be options of a provider.
_HARMLESS: Final = re.compile(
    r"HOME|PATH|PWD|OLDPWD|USER|LOGNAME|SHELL|SHLVL|_|LANG|LC_\w+|TZ|TERM|COLUMNS|LINES|HOSTNAME|"
    r"TMPDIR|PYTHON\w*|VIRTUAL_ENV|XDG_\w+|SSL_CERT_(?:FILE|DIR)|NO_PROXY|no_proxy|"
    r"AWS_(?:DEFAULT_)?REGION|AWS_ROLE_ARN|AWS_ROLE_SESSION_NAME|AWS_PROFILE|"
    r"AWS_STS_REGIONAL_ENDPOINTS|AZURE_(?:TENANT_ID|CLIENT_ID|AUTHORITY_HOST)|"
    r"GOOGLE_CLOUD_PROJECT|GOOGLE_MANAGED_KAFKA_AUTH_PRINCIPAL|"
    r"KUBERNETES_\w+|POD_\w+|OTEL_(?!\w*(?:HEADERS|KEY))\w+"
)
# Kubernetes sets these for each Service of the namespace. One named `checkpoint-ready` gets our
# prefix.
_SERVICE_LINK: Final = re.compile(r"\w+_SERVICE_(?:HOST|PORT(?:_\w+)?)|\w+_PORT(?:_\d+_\w+)?")
# A variable with another name may have such a value, and it is a word of many messages.
_SECRET_NAME: Final = re.compile(r"(?i)secret|passw|pwd|key|token|credential|pin(?:_|$)")
_COMMON_VALUE: Final = re.compile(r"(?i)true|false|none|null|[-+]?\d{1,11}(?:\.\d+)?")
# The members of a credentials file, such as Google's, that are no secret.
_HARMLESS_MEMBERS: Final = re.compile(r"type|project_id|client_email|client_id|\w+_ur[il]|account")
_HARMLESS_SETTINGS: Final = {
    variable.name
    for variable in VARIABLES
    if not variable.is_secret and variable.field != "sasl_oauthbearer_extensions"
}


def masked(text: str, *secrets: str) -> str:
    """Return a text of another program in one line, shortened, without secrets and tokens.

    Args:
        text: such as the message of an exception.
        secrets: texts that it must not have. What looks like a secret is masked too.
    """
    line = " ".join(without_secrets(text, *secrets).split())
    return line if len(line) <= MAX_MESSAGE_CHARS else f"{line[:MAX_MESSAGE_CHARS]}…"


def without_secrets(text: str, *secrets: str) -> str:
    """Return the first part of a text without these secrets, and what looks like one."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        if len(secret) >= LEAST_PART_CHARS:
            text = text.replace(secret, MASK)
        else:
            text = re.sub(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])", MASK, text)
    text = text[:MAX_READ_CHARS]
    text = _USER_OF_URL.sub(MASK, text)
    text = _QUERY_VALUE.sub(rf"\1{MASK}", text)
    text = _AFTER_NAME.sub(_mask_value, text)
    text = _AFTER_SCHEME.sub(_mask_value, text)
    return _TOKEN.sub(MASK, text)


def _mask_value(found: re.Match[str]) -> str:
    parts = found.groupdict()
    value = parts["value"]
    # After `no token:` there may also be a reason. A reason has words.
    is_sure = "sign" in parts and (
        parts["sign"] == "=" or bool(parts["quote"]) or parts["weak"] is None
    )
    if is_sure or len(value) >= _LONG_CHARS or any(map(str.isdigit, value)):
        return f"{parts['name']}{parts.get('quote') or ''}{MASK}"
    return found[0]


def secrets_of_process(variables: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the texts that may be secrets of a class of the user, or of a library of a cloud.

    Such a provider has its options in variables and in the files that variables name. Which of them
    are secret is not known. So all are, unless they are known to be harmless: by the name, or
    because the value is a switch or a number and the name is not that of a secret.
    """
    found: set[str] = set()
    for name, value in variables.items():
        if _is_harmless(name):
            continue
        texts = set(_in_file(value) if _is_path(value) else _options(value))
        if not name.startswith(PREFIX) and _SECRET_NAME.search(name) is None:
            texts = {text for text in texts if _COMMON_VALUE.fullmatch(text) is None}
        found.update(texts)
    long = {text for text in found if len(text) >= LEAST_SECRET_CHARS}
    return tuple(long | {encode(text) for text in long for encode in (quote, quote_plus)})


def _is_harmless(name: str) -> bool:
    if _SERVICE_LINK.fullmatch(name) is not None:
        return True
    if name.startswith(PREFIX):
        return name in _HARMLESS_SETTINGS
    return _HARMLESS.fullmatch(name) is not None


def _is_path(value: str) -> bool:
    try:
        return Path(value).is_absolute() and Path(value).exists()
    except (OSError, ValueError):
        return False


def _options(text: str) -> Iterator[str]:
    yield text.strip()
    yield from re.split(r"[\s,;]+", text)


def _in_file(path: str) -> Iterator[str]:
    try:
        file = Path(path)
        if not file.is_file() or file.stat().st_size > MAX_FILE_BYTES:
            return
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    yield text.strip()
    yield from map(str.strip, text.splitlines())
    try:
        yield from _members(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        return


def _members(document: object) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, list):
        for one in document:
            yield from _members(one)
    elif isinstance(document, dict):
        for name, value in document.items():
            if not (isinstance(value, str) and _HARMLESS_MEMBERS.fullmatch(str(name))):
                yield from _members(value)
