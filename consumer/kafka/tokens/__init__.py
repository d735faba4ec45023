"""Gets the tokens of the SASL mechanism OAUTHBEARER, without knowledge of the Kafka client.

``source_of`` chooses a source by the settings. A source returns the token for one login.
"""

from consumer.kafka.tokens.choose import source_of
from consumer.kafka.tokens.masking import masked
from consumer.kafka.tokens.token import (
    TokenLife,
    TokenRefused,
    TokenSource,
    TokenUnavailable,
    describe,
)

__all__ = [
    "TokenLife",
    "TokenRefused",
    "TokenSource",
    "TokenUnavailable",
    "describe",
    "masked",
    "source_of",
]
