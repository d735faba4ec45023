"""For every release name, the objects have valid Kubernetes names."""

from __future__ import annotations

import re

import pytest

from tests.chart.rendering import SECRETS, Refused, render_release

# A DNS label (RFC 1035); a CronJob's Jobs add eleven characters to its name.
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LENGTHS = {"CronJob": 52}
ALL = {
    "shards": 6,
    "keda": {"enabled": True},
    "replay": {"enabled": True},
    "ingest": {"enabled": True, "config": {"checkpoints": {"anonymous": True}}},
    "poll": {
        "enabled": True,
        "kind": "CronJob",
        "accounts": [{"name": "a", "kind": "openai", "key_file": f"{SECRETS}/a"}],
        "secretFiles": {"a": {"secret": "a", "key": "a"}},
    },
    "monitoring": {"podMonitor": True, "rules": True, "dashboard": True},
    "kafka": {
        "bootstrapServers": "kafka:9092",
        "securityProtocol": "SASL_SSL",
        "sasl": {"mechanism": "PLAIN", "username": "me", "password": "secret"},
    },
}


@pytest.mark.parametrize(
    "release",
    ["events", "a", "x" * 28, "x" * 29, "x" * 36, "x" * 44 + "-yyyyyyyy", "z" * 53, "my.events.v2"],
)
def test_names_are_labels_and_not_too_long(release: str) -> None:
    """At most 63 characters, without dots, and no two objects of a kind share one."""
    objects = render_release(release, **ALL).objects
    names = [(it["kind"], it["metadata"]["name"]) for it in objects]
    for kind, name in names:
        assert LABEL.fullmatch(name), (kind, name)
        assert len(name) <= LENGTHS.get(kind, 63), (kind, name)
    assert len(names) == len(set(names))
    assert {kind for kind, _ in names} >= {"CronJob", "Job", "Service", "ScaledObject", "Secret"}


def test_a_digit_at_the_beginning_is_refused() -> None:
    """A Service name must not begin with a digit. fullnameOverride sets another name."""
    with pytest.raises(Refused, match=r"begins with a digit, .*: set fullnameOverride"):
        render_release("1-events")
    assert render_release("1-events", fullnameOverride="events").one("Service")
