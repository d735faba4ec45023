"""Takes the screenshots of the status page: docs/status-light.png and docs/status-dark.png.

`python -m dev.status_screenshot` runs a service on a local Kafka. Some of the sample records are
repeats, and some are invalid.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from dev.browser import DARK, LIGHT, take_picture
from dev.kafka import LocalKafka
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.http_client import start_observed
from tests.support.records import NewRecord
from tests.support.sample_jobs import make_job
from tests.support.topics import Names
from tests.support.verdicts import wait_until_handled

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAMES = Names("checkpoint-ready")
JOBS = 400
REPEATED = 300
INVALID_RECORDS = (b"{", b"[]", b'{"object": "fine_tuning.job"}') * 3
WINDOW = (1040, 1010)


def main() -> None:
    """Write both screenshots."""
    rng = random.Random(7)
    jobs = [make_job(rng) for _ in range(JOBS)]
    values = [json.dumps(content).encode() for job in jobs for content in job.checkpoints]
    values += [*values[:REPEATED], *INVALID_RECORDS]
    rng.shuffle(values)
    with LocalKafka() as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(cluster, NAMES) as deployment:
            seen = start_observed(deployment)
            deployment.wait_until_running(3, seen.service)
            records = [NewRecord(value, rng.randbytes(8)) for value in values]
            cluster.produce(deployment.input_topic, records)
            wait_until_handled(cluster, NAMES)
            for scheme in (LIGHT, DARK):
                path = DOCS / f"status-{scheme}.png"
                take_picture(seen.url, path, scheme=scheme, window=WINDOW)
                print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
