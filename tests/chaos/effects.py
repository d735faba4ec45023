"""The effects of a proxy: which requests on which links it delays or refuses."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

API_KEY: Final = struct.Struct(">h")
# https://kafka.apache.org/protocol, "Api Keys"
FETCH: Final = 1
SASL_HANDSHAKE: Final = 17
INIT_PRODUCER_ID: Final = 22
END_TXN: Final = 26


class Link(NamedTuple):
    """The connection from one service (its place in the fleet) to one address of a broker."""

    place: int
    node: int
    address: int = 0


class Effect(NamedTuple):
    """A fault on some links; None means all."""

    place: int | None = None
    node: int | None = None
    api_key: int | None = None
    delay_seconds: float = 0.0
    is_refusing: bool = False
    forgets_after_seconds: float | None = None
    """Forget a connection that was idle for longer, as a NAT gateway does: it stays open, but
    nothing passes any more, and neither side gets an error."""

    def meets(self, link: Link) -> bool:
        """Return whether the effect applies to a link."""
        return self.place in {None, link.place} and self.node in {None, link.node}

    def delays(self, link: Link, api_key: int) -> float:
        """Return the seconds for which a request on a link is held back."""
        concerned = self.meets(link) and self.api_key in {None, api_key}
        return self.delay_seconds if concerned else 0.0


def api_key_of(frame: bytes) -> int:
    """Return the API key of a request, the first field of its header; -1 if it is cut."""
    if len(frame) < API_KEY.size:
        return -1
    key: int = API_KEY.unpack_from(frame)[0]
    return key
