"""Selects free ports for brokers, outside the range for outgoing connections."""

from __future__ import annotations

import itertools
import random
import socket

from dev.kafka_jars import LocalKafkaError
from dev.kafka_settings import HOST

# Below the kernel's range for outgoing connections. So no outgoing connection can take the port of
# a broker while the broker restarts.
FREE_PORTS = range(18_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return ports on which no process listens now."""
    shuffled = random.sample(FREE_PORTS, k=len(FREE_PORTS))
    chosen = list(itertools.islice(filter(_is_free, shuffled), count))
    if len(chosen) < count:
        raise LocalKafkaError("no free port on this machine")
    return chosen


def free_port(port: int) -> int:
    """Return the requested port. Raise if another process listens on it."""
    if not _is_free(port):
        raise LocalKafkaError(f"port {port} is in use: stop that process, or use --port")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
