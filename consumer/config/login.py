"""Contradictions between the settings of the login: SASL with a password, or with tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consumer.config.variables import PREFIX

if TYPE_CHECKING:
    from consumer.config.settings import Settings

OAUTHBEARER: Final = "OAUTHBEARER"
_TOKENS: Final = "SASL_OAUTHBEARER_"
_SECRET: Final = "CLIENT_CREDENTIALS_CLIENT_SECRET"  # noqa: S105 - a name
_KEY_FILE: Final = "ASSERTION_PRIVATE_KEY_FILE"
_PROOFS: Final = (_SECRET, _KEY_FILE, "ASSERTION_FILE")
# The settings that have an effect with each provider. A class of the user has extensions only.
_USED: Final = {
    "oidc": {
        "TOKEN_ENDPOINT_URL",
        "CLIENT_CREDENTIALS_CLIENT_ID",
        *_PROOFS,
        "ASSERTION_KEY_ID",
        "ASSERTION_CLAIM_AUD",
        "SCOPE",
        "AUDIENCE",
        "SSL_CAFILE",
    },
    "file": {"TOKEN_FILE"},
    "azure": {"SCOPE"},
}
_ALL: Final = sorted(set().union(*_USED.values()))
_FILES: Final = (_KEY_FILE, "ASSERTION_FILE", "SSL_CAFILE", "TOKEN_FILE")


def login_contradictions(settings: "Settings") -> Iterator[tuple[str, str]]:
    """Yield each problem: the names of the fields, separated by spaces, and the message."""
    protocol = settings.security_protocol
    is_sasl = protocol.startswith("SASL")
    is_oauthbearer = settings.sasl_mechanism == OAUTHBEARER
    password = (settings.sasl_username, settings.sasl_password)
    if is_sasl and not settings.sasl_mechanism:
        yield (
            "security_protocol sasl_mechanism",
            (
                f"{PREFIX}SECURITY_PROTOCOL={protocol} also needs SASL_MECHANISM, SASL_USERNAME "
                "and SASL_PASSWORD (or SASL_MECHANISM=OAUTHBEARER and its settings)"
            ),
        )
    elif is_sasl and not is_oauthbearer and not all(password):
        yield (
            "security_protocol sasl_mechanism sasl_username sasl_password",
            (
                f"{PREFIX}SECURITY_PROTOCOL={protocol} also needs SASL_MECHANISM, SASL_USERNAME "
                "and SASL_PASSWORD"
            ),
        )
    if (settings.sasl_mechanism or any(password)) and not is_sasl:
        yield (
            "security_protocol",
            f"{PREFIX}SASL_*: set SECURITY_PROTOCOL to SASL_SSL (or SASL_PLAINTEXT) to use them",
        )
    if is_oauthbearer:
        yield from _oauthbearer_contradictions(settings)
    else:
        names = [*_ALL, *(["EXTENSIONS"] if settings.sasl_oauthbearer_extensions else [])]
        for name in _given(settings, names):
            yield (
                f"sasl_mechanism {_field(name)}",
                f"{PREFIX}{_TOKENS}{name}: set SASL_MECHANISM to OAUTHBEARER to use it",
            )


def _oauthbearer_contradictions(settings: "Settings") -> Iterator[tuple[str, str]]:
    provider = settings.sasl_oauthbearer_provider
    if settings.sasl_username or settings.sasl_password:
        yield (
            "sasl_mechanism sasl_username sasl_password",
            (
                f"{PREFIX}SASL_MECHANISM=OAUTHBEARER logs in by a token: unset SASL_USERNAME and "
                "SASL_PASSWORD"
            ),
        )
    used = _USED.get(provider, set())
    for name in _given(settings, [name for name in _ALL if name not in used]):
        yield (
            f"sasl_oauthbearer_provider {_field(name)}",
            f"{PREFIX}{_TOKENS}{name} has no effect with {_TOKENS}PROVIDER={provider}: unset it",
        )
    if provider == "oidc":
        yield from _oidc_contradictions(settings)
    for name, needed_by in (("TOKEN_FILE", "file"), ("SCOPE", "azure")):
        if provider == needed_by and not _value(settings, name):
            yield (
                f"sasl_oauthbearer_provider {_field(name)}",
                f"{PREFIX}{_TOKENS}PROVIDER={provider} also needs {_TOKENS}{name}",
            )
    for name in _given(settings, _FILES):
        if not Path(str(_value(settings, name))).is_file():
            yield (
                _field(name),
                f"{PREFIX}{_TOKENS}{name}: the file {_value(settings, name)} does not exist",
            )


def _oidc_contradictions(settings: "Settings") -> Iterator[tuple[str, str]]:
    for name in ("TOKEN_ENDPOINT_URL", "CLIENT_CREDENTIALS_CLIENT_ID"):
        if not _value(settings, name):
            yield (
                f"sasl_mechanism sasl_oauthbearer_provider {_field(name)}",
                (
                    f"{PREFIX}SASL_MECHANISM=OAUTHBEARER with {_TOKENS}PROVIDER=oidc also needs "
                    f"{_TOKENS}{name}"
                ),
            )
    proofs = _given(settings, _PROOFS)
    if len(proofs) != 1:
        found = " and ".join(f"{_TOKENS}{name}" for name in proofs) or "none"
        yield (
            f"sasl_oauthbearer_provider {' '.join(map(_field, _PROOFS))}",
            (
                f"{PREFIX}{_TOKENS}*: the client proves its identity by exactly one of {_SECRET}, "
                f"{_KEY_FILE} and ASSERTION_FILE; set is: {found}"
            ),
        )
    for name in _given(settings, ("ASSERTION_KEY_ID", "ASSERTION_CLAIM_AUD")):
        if _KEY_FILE not in proofs:
            yield (
                f"{_field(name)} {_field(_KEY_FILE)}",
                f"{PREFIX}{_TOKENS}{name} has no effect without {_TOKENS}{_KEY_FILE}: unset it",
            )


def _given(settings: "Settings", names: "list[str] | tuple[str, ...]") -> list[str]:
    return [name for name in names if _value(settings, name)]


def _value(settings: "Settings", name: str) -> object:
    return getattr(settings, _field(name))


def _field(name: str) -> str:
    return f"{_TOKENS}{name}".lower()
