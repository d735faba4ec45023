"""What an operator must fix when a broker refuses a login or a setting of this service."""

import re
import ssl
from typing import Final

from aiokafka import errors as kafka_errors

from consumer.config import PREFIX
from consumer.kafka.client.token_provider import TokenLoginRefused

AUTHENTICATION_ERRORS: Final = (
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.AuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)
# The alerts about a certificate (RFC 8446 section 6.2), as OpenSSL names them.
REFUSED_CERTIFICATE: Final = re.compile("ALERT.*(CERTIFICATE|UNKNOWN_CA)")


def causes_of(error: BaseException) -> list[BaseException]:
    """Return the cause of an error, the cause of this cause, and so on."""
    causes = []
    cause = error.__cause__
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__
    return causes


def login_refusal(error: BaseException) -> str | None:
    """Return why a login failed; None if the error is another one."""
    if isinstance(error, TokenLoginRefused):
        return str(error.args[0])
    if isinstance(error, AUTHENTICATION_ERRORS):
        return (
            f"the broker refused the credentials; check {PREFIX}SECURITY_PROTOCOL, "
            "SASL_MECHANISM, SASL_USERNAME and SASL_PASSWORD"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the broker's certificate is not trusted ({error.verify_message}); "
            f"name its authority in {PREFIX}SSL_CAFILE"
        )
    if isinstance(error, ssl.SSLError) and REFUSED_CERTIFICATE.search(error.reason or ""):
        return (
            f"the broker refused our certificate ({error.reason}); {PREFIX}SSL_CERTFILE "
            "must name a certificate that has not expired, from an authority that the broker trusts"
        )
    return None


def setting_refusal(error: BaseException) -> str | None:
    """Return which setting of the brokers refuses one of ours; None if the error is another one."""
    if isinstance(error, kafka_errors.InvalidTransactionTimeout):
        return (
            f"{PREFIX}TRANSACTION_TIMEOUT_MS is larger than transaction.max.timeout.ms of the "
            "brokers: lower the variable, or raise the setting of the brokers"
        )
    if isinstance(error, kafka_errors.InvalidSessionTimeoutError):
        return (
            f"{PREFIX}SESSION_TIMEOUT_MS is not between group.min.session.timeout.ms and "
            "group.max.session.timeout.ms of the brokers: change the variable, or the setting of "
            "the brokers"
        )
    if isinstance(error, kafka_errors.InvalidTimestampError):
        return (
            "the broker refused the timestamp of a record: correct the clock of this machine, "
            "which is further ahead of the broker than message.timestamp.after.max.ms allows"
        )
    return None
