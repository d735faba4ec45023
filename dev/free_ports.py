"""Ports for brokers: free now, and never those the kernel gives to outgoing connections."""

from __future__ import annotations

import itertools
import random
import socket

from dev.kafka_jars import LocalKafkaError
from dev.kafka_settings import HOST

# Below the range that the kernel hands out to outgoing connections: a client's socket cannot sit on
# a broker's port while that broker is down for a moment.
FREE_PORTS = range(18_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Choose ports nobody listens on now."""
    shuffled = random.sample(FREE_PORTS, k=len(FREE_PORTS))
    chosen = list(itertools.islice(filter(_is_free, shuffled), count))
    if len(chosen) < count:
        raise LocalKafkaError("no free port on this machine")
    return chosen


def free_port(port: int) -> int:
    """Return the port that was asked for, or say that somebody else listens on it."""
    if not _is_free(port):
        raise LocalKafkaError(f"port {port} is taken: stop what listens there, or use --port")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
