"""Measures how long consumers wait when a process crashes, restarts, or joins.

Two processes share six shards. A steady stream gives every shard one event every 30 ms. A
read_committed subscriber records the arrival of each event by the monotonic clock of the machine.
The pause of a shard (or partition) is the longest time between two of its events.
"""

import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from consumer.shard.events import Step
from tests.integration.crashing_service import crashing_at
from tests.support.arrivals import Arrivals
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.service_process import ServiceProcess
from tests.support.stream import Stream
from tests.support.topics import Names
from tests.support.waiting import wait_until

SHARDS = 6
ALL = frozenset(range(SHARDS))
PAUSE_MS = 5.0
DEADLINE_SECONDS = 60.0
SETTLED_SECONDS = 1.0
STEPS_TO_CRASH = 150


class Aim(NamedTuple):
    """The name of a measured time, and the limit in seconds below which it should stay."""

    name: str
    below: float | None = None


TAKEOVER_FIRST = Aim("SIGKILL, taken over: first moved shard", 11.0)
TAKEOVER_ALL = Aim("SIGKILL, taken over: all moved shards", 11.0)
IN_PLACE_FIRST = Aim("SIGKILL, restart in place: first shard", 2.0)
IN_PLACE_ALL = Aim("SIGKILL, restart in place: all its shards", 2.0)
RESTART_MOVED = Aim("graceful restart: pause of moved shards", 1.0)
RESTART_KEPT = Aim("graceful restart: pause of kept shards")
JOIN_MOVED = Aim("a member joins: pause of moved shards", 1.0)
JOIN_KEPT = Aim("a member joins: pause of kept shards")
NORMAL = Aim("nothing happens: pause of a shard")
STALL_IN_PLACE = Aim("SIGKILL in a transaction, restart in place: LSO stall", 2.0)
STALL_TAKEOVER = Aim("SIGKILL in a transaction, taken over: LSO stall", 11.0)

Figures = dict[Aim, list[float]]


class Scene:
    """The processes of one scenario, and a reader of their events."""

    def __init__(self, deployment: Deployment, arrivals: Arrivals) -> None:
        self.deployment = deployment
        self.arrivals = arrivals

    def settle(self, *services: ServiceProcess) -> None:
        """Wait until these processes run all shards and every shard has published for a while."""
        self.deployment.wait_until_running(SHARDS, *services, deadline_seconds=DEADLINE_SECONDS)
        since = time.monotonic()
        wait_until(
            lambda: (
                time.monotonic() - since > SETTLED_SECONDS
                and self.arrivals.has_seen_all(SHARDS, since + SETTLED_SECONDS / 2)
            ),
            DEADLINE_SECONDS,
            what="an event of every shard",
        )

    def longest(self, since: float, shards: frozenset[int]) -> float:
        """Return the longest pause of these shards in seconds."""
        pauses = self.arrivals.pauses(since)
        return max(end - begin for shard, (begin, end) in pauses.items() if shard in shards)

    def resumed(self, since: float, shards: frozenset[int]) -> list[float]:
        """Return the seconds from `since` until the pause of each of these shards ended, sorted."""
        pauses = self.arrivals.pauses(since)
        return sorted(end - since for shard, (_, end) in pauses.items() if shard in shards)

    def stall(self, since: float) -> float:
        """Return the seconds from `since` to the end of the longest pause of a ready partition."""
        pauses = self.arrivals.pauses(since, by_partition=True)
        _, end = max(pauses.values(), key=lambda pause: pause[1] - pause[0])
        return end - since


def measure_recovery(bootstrap_servers: str, *, rounds: int) -> Iterator[Figures]:
    """Yield the figures of one scenario after the other."""
    cluster = Cluster(bootstrap_servers)
    for scenario in (_takeover, _in_place, _graceful, _join, _stall_in_place, _stall_takeover):
        with _scene(cluster, scenario.__name__.strip("_")) as scene:
            yield scenario(scene, rounds)


def table(figures: Figures) -> str:
    """Return the figures as rows: median, worst, and the aim."""
    rows = []
    for aim, seconds in figures.items():
        if not seconds:
            continue
        wanted = "" if aim.below is None else f"aim < {aim.below:g} s"
        rows.append(
            f"{aim.name:56}{statistics.median(seconds):9.3f}{max(seconds):9.3f}"
            f"{len(seconds):6}  {wanted}".rstrip()
        )
    return "\n".join(rows)


HEAD = f"{'seconds':56}{'median':>9}{'worst':>9}{'times':>6}"


@contextmanager
def _scene(cluster: Cluster, name: str) -> Iterator[Scene]:
    names = Names(f"bench-{name.replace('_', '-')}-{uuid.uuid4().hex[:6]}")
    with (
        Deployment(cluster, names, input_partitions=SHARDS) as deployment,
        Arrivals(cluster, deployment.ready_topic) as arrivals,
    ):
        yield Scene(deployment, arrivals)


def _stream(scene: Scene) -> Stream:
    deployment = scene.deployment
    return Stream(deployment.cluster, deployment.input_topic, pause_ms=PAUSE_MS, shards=SHARDS)


def _takeover(scene: Scene, rounds: int) -> Figures:
    figures: Figures = {TAKEOVER_FIRST: [], TAKEOVER_ALL: []}
    staying, dying = scene.deployment.start(), scene.deployment.start()
    with _stream(scene):
        for _ in range(rounds):
            scene.settle(staying, dying)
            shards = dying.running_shards()
            killed = time.monotonic()
            dying.kill()
            scene.settle(staying)
            resumed = scene.resumed(killed, shards)
            figures[TAKEOVER_FIRST].append(resumed[0])
            figures[TAKEOVER_ALL].append(resumed[-1])
            dying = scene.deployment.start()
    return figures


def _in_place(scene: Scene, rounds: int) -> Figures:
    figures: Figures = {IN_PLACE_FIRST: [], IN_PLACE_ALL: []}
    staying, dying = scene.deployment.start("pod-0"), scene.deployment.start("pod-1")
    with _stream(scene):
        for _ in range(rounds):
            scene.settle(staying, dying)
            shards = dying.running_shards()
            killed = time.monotonic()
            dying.kill()
            dying = scene.deployment.restart(dying)
            scene.settle(staying, dying)
            resumed = scene.resumed(killed, shards)
            figures[IN_PLACE_FIRST].append(resumed[0])
            figures[IN_PLACE_ALL].append(resumed[-1])
    return figures


def _graceful(scene: Scene, rounds: int) -> Figures:
    figures: Figures = {RESTART_MOVED: [], RESTART_KEPT: [], NORMAL: []}
    staying, leaving = scene.deployment.start(), scene.deployment.start()
    with _stream(scene):
        for _ in range(rounds):
            scene.settle(staying, leaving)
            quiet = time.monotonic() - SETTLED_SECONDS
            figures[NORMAL].append(scene.longest(quiet, ALL))
            kept = staying.running_shards()
            began = time.monotonic()
            leaving.terminate()
            leaving = scene.deployment.restart(leaving)
            scene.settle(staying, leaving)
            kept &= staying.running_shards()
            figures[RESTART_MOVED].append(scene.longest(began, ALL - kept))
            if kept:  # it can be empty: the restarted process may get other shards than before
                figures[RESTART_KEPT].append(scene.longest(began, kept))
    return figures


def _join(scene: Scene, rounds: int) -> Figures:
    figures: Figures = {JOIN_MOVED: [], JOIN_KEPT: []}
    pair = scene.deployment.start(), scene.deployment.start()
    with _stream(scene):
        for _ in range(rounds):
            scene.settle(*pair)
            before = [service.running_shards() for service in pair]
            began = time.monotonic()
            third = scene.deployment.start()
            scene.settle(*pair, third)
            after = [service.running_shards() for service in pair]
            kept = frozenset[int]().union(*(b & a for b, a in zip(before, after, strict=True)))
            figures[JOIN_MOVED].append(scene.longest(began, ALL - kept))
            figures[JOIN_KEPT].append(scene.longest(began, kept))
            third.terminate()
    return figures


def _stall_in_place(scene: Scene, rounds: int) -> Figures:
    stalls: list[float] = []
    staying = scene.deployment.start("pod-0")
    with _stream(scene):
        for _ in range(rounds):
            killed = _crash_in_transaction(scene, staying, "pod-1")
            again = scene.deployment.start("pod-1")
            scene.settle(staying, again)
            stalls.append(scene.stall(killed))
            again.terminate()
            scene.settle(staying)
    return {STALL_IN_PLACE: stalls}


def _stall_takeover(scene: Scene, rounds: int) -> Figures:
    stalls: list[float] = []
    staying = scene.deployment.start()
    with _stream(scene):
        for _ in range(rounds):
            killed = _crash_in_transaction(scene, staying, "")
            scene.settle(staying)
            stalls.append(scene.stall(killed))
    return {STALL_TAKEOVER: stalls}


def _crash_in_transaction(scene: Scene, staying: ServiceProcess, instance: str) -> float:
    """Start a process that crashes in a transaction; return the time of the crash."""
    scene.settle(staying)
    command = crashing_at(Step.SENT, STEPS_TO_CRASH)
    crashing = scene.deployment.start(instance, command=command)
    # Poll every millisecond, because the measurement begins when the process ends.
    wait_until(lambda: crashing.has_ended, DEADLINE_SECONDS, what="the crash", poll_seconds=0.001)
    killed = time.monotonic()
    crashing.kill()
    return killed
