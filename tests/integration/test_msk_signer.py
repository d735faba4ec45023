"""The official signer of MSK IAM, in an environment of its own, called by the service's code."""

from __future__ import annotations

import base64
import os
import subprocess
import sysconfig
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dev.toolchains import python_environment

ROOT = Path(__file__).parents[2]
SECRET = "a secret access key of no account"
PROGRAM = """
import asyncio
from consumer.config import Settings
from consumer.kafka.tokens import source_of

settings = Settings.load({
    "CHECKPOINT_READY_SECURITY_PROTOCOL": "SASL_SSL",
    "CHECKPOINT_READY_SASL_MECHANISM": "OAUTHBEARER",
    "CHECKPOINT_READY_SASL_OAUTHBEARER_PROVIDER": "aws_msk_iam",
    "CHECKPOINT_READY_BOOTSTRAP_SERVERS": "b-1.events.abc.c2.kafka.eu-west-1.amazonaws.com:9098",
})
print(asyncio.run(source_of(settings).value()))
"""


@pytest.mark.timeout(300)
def test_the_official_signer_signs_a_token_for_the_region() -> None:
    """The token is a signed request to connect, for 15 minutes. No request is sent to AWS."""
    python = python_environment(ROOT / "requirements/aws.txt")
    # The packages of the service itself; those of the signer come first.
    path = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
    variables = {
        "PYTHONPATH": path,
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = subprocess.run(
        [str(python), "-c", PROGRAM],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    token = done.stdout.strip()
    address = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    query = parse_qs(address.query)
    assert address.hostname == "kafka.eu-west-1.amazonaws.com"
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert query["X-Amz-Expires"] == ["900"]
    assert SECRET not in address.query + done.stderr
