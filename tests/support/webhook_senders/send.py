"""Sends a signed webhook: ``send.py SECRET URL BODY``. Prints the status of the answer.

It runs in an environment of its own, with the library of the Standard Webhooks project.
"""

import sys
import urllib.request
from datetime import UTC, datetime

from standardwebhooks import Webhook

secret, url, body = sys.argv[1:]
now = datetime.now(UTC)
request = urllib.request.Request(  # noqa: S310 - the URL of a test
    url,
    body.encode(),
    {
        "content-type": "application/json",
        "webhook-id": "msg_py",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_py", now, body),
    },
)
with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
    print(answer.status)  # noqa: T201 - its result
