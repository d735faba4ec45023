"""Security settings for aiokafka, from the properties of librdkafka.

So both subscribers read the same file. confluent-kafka gets its properties unchanged.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",  # another name of the same property
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
}
CA_FILE = "ssl.ca.location"
CERTIFICATE, KEY, KEY_PASSWORD = "ssl.certificate.location", "ssl.key.location", "ssl.key.password"
TLS = {CA_FILE, CERTIFICATE, KEY, KEY_PASSWORD}


def login_options(properties: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of aiokafka for these properties.

    Raises:
        ValueError: aiokafka has no option for a property.
        OSError: a certificate or a key cannot be read.
    """
    if unknown := properties.keys() - OPTIONS.keys() - TLS:
        raise ValueError(f"subscribe_aiokafka.py does not support {', '.join(sorted(unknown))}")
    options: dict[str, Any] = {
        OPTIONS[name]: properties[name] for name in properties if name in OPTIONS
    }
    protocol = options.get("security_protocol", "PLAINTEXT").upper()
    options["security_protocol"] = protocol
    if protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(properties)
    return options


def _ssl_context(properties: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context that verifies the broker; without a CA file, by the system's authorities."""
    context = ssl.create_default_context(cafile=properties.get(CA_FILE))
    if certificate := properties.get(CERTIFICATE):
        context.load_cert_chain(certificate, properties.get(KEY), properties.get(KEY_PASSWORD))
    return context
