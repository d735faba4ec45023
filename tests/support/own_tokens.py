"""A class of a user that gets tokens, as `SASL_OAUTHBEARER_PROVIDER=module:Class` names one.

Its options are variables. While the file OWN_TOKENS_FAULT exists, `extensions` does what it says.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Final

FAILS, NOT_A_DICT, RESERVED = "fails", "not a dict", "reserved"
KEEP_SHARE: Final = 0.5  # of the life of a token


class OwnTokens:
    """Requests a token by a secret, and keeps it for half of its life."""

    def __init__(self) -> None:
        """Read the options."""
        self._url = os.environ["OWN_TOKENS_URL"]
        self._pair = os.environ["OWN_TOKENS_PAIR"]
        self._fault = Path(os.environ["OWN_TOKENS_FAULT"])
        self._token, self._until = "", 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Return the present token, or a new one."""
        async with self._lock:
            if time.monotonic() >= self._until:
                answer = await asyncio.to_thread(self._request)
                self._token = str(answer["access_token"])
                self._until = time.monotonic() + int(answer["expires_in"]) * KEEP_SHARE
            return self._token

    def extensions(self) -> object:
        """Return those that the broker needs, or what the fault says."""
        fault = self._fault.read_text() if self._fault.exists() else ""
        if fault == FAILS:
            raise RuntimeError(f"no extensions for {self._pair}")
        if fault == NOT_A_DICT:
            return [self._pair]
        found = {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"}
        return found | ({"auth": self._pair} if fault == RESERVED else {})

    def _request(self) -> dict[str, str | int]:
        header = {"Authorization": f"Basic {b64encode(self._pair.encode()).decode()}"}
        request = urllib.request.Request(self._url, b"grant_type=client_credentials", header)  # noqa: S310 - of the test
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - the same
            found: dict[str, str | int] = json.load(response)
        return found
