"""The nemesis: carries out the drawn faults, each lane in its own thread, and repairs them.

The seed gives the order and every number; when a fault begins depends also on the machine.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from confluent_kafka import Producer

from tests.chaos.battlefield import advertised
from tests.chaos.contents import content_of
from tests.chaos.effects import END_TXN, INIT_PRODUCER_ID, Effect
from tests.chaos.fleet import PLACES
from tests.chaos.schedule import Kind, Lane, draw_faults
from tests.support.documents import compact
from tests.support.kafka_tools import ToolFailedError
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.battlefield import Battlefield
    from tests.chaos.run_history import Outcome
    from tests.chaos.schedule import Fault

LANE_END_SECONDS = 300.0
HELD_SECONDS = 5.0
TRANSACTION_SECONDS = 60.0
QUOTA_BYTES = 100_000  # a second, for each client
POLL_SECONDS = 0.02
DELETE_SECONDS = 90.0
SETTLE_SECONDS = 10.0
SETTLE_POLL_SECONDS = 0.1
MOST_INPUT_PARTITIONS = 24
FEWEST, MOST, USUAL = 1, 4, 2


class Nemesis:
    """Causes faults in three lanes until it is stopped; then everything is repaired."""

    def __init__(self, field: Battlefield, seed: int) -> None:
        """Describe it; entering the context begins."""
        self._field = field
        self._address = 0
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(seed, lane), name=lane, daemon=True)
            for lane in Lane
        ]
        self._acts: dict[Kind, Callable[[Fault, Outcome], None]] = {
            Kind.KILL_STATIC: self._kill,
            Kind.KILL_DYNAMIC: self._kill,
            Kind.TERMINATE_STATIC: self._terminate,
            Kind.TERMINATE_DYNAMIC: self._terminate,
            Kind.ZOMBIE_STATIC: self._freeze,
            Kind.ZOMBIE_DYNAMIC: self._freeze,
            Kind.TRANSACTION_TIMEOUT: self._time_out,
            Kind.SCALE: self._scale,
            Kind.ADD_PARTITIONS: self._add_partitions,
            Kind.DELETE_OFFSETS: self._delete_offsets,
            Kind.DELETE_GROUP: self._delete_group,
            Kind.KILL_TRANSACTION_COORDINATOR: self._break_broker,
            Kind.KILL_GROUP_COORDINATOR: self._break_broker,
            Kind.KILL_LEADER: self._break_broker,
            Kind.RESTART_TRANSACTION_COORDINATOR: self._break_broker,
            Kind.RESTART_GROUP_COORDINATOR: self._break_broker,
            Kind.RESTART_LEADER: self._break_broker,
            Kind.FREEZE_BROKER: self._freeze_broker,
            Kind.CHANGE_ADDRESSES: self._change_addresses,
            Kind.OPEN_TRANSACTION: self._leave_transaction_open,
            Kind.CUT_BROKER: self._trouble_broker,
            Kind.CUT_SERVICE: self._trouble_service,
            Kind.DELAY_BROKER: self._trouble_broker,
            Kind.DELAY_SERVICE: self._trouble_service,
            Kind.DELAY_END_TXN: self._delay_end_txn,
            Kind.DELAY_INIT_PRODUCER_ID: self._delay_init_producer_id,
            Kind.FORGET_IDLE: self._forget_idle,
            Kind.QUOTA: self._throttle,
            Kind.TOKENS_DOWN: self._break_token_endpoint,
            Kind.TOKENS_HANG: self._break_token_endpoint,
        }

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, even if the run fails: a lane must not repair what is being stopped."""
        if any(thread.is_alive() for thread in self._threads):
            self._field.brokers.abandon()
            self.stop()

    def stop(self) -> None:
        """Begin nothing more and return when what is in force has been mended.

        Raises:
            AssertionError: a lane did not end in time.
        """
        self._stopping.set()
        for thread in self._threads:
            thread.join(LANE_END_SECONDS)
            assert not thread.is_alive(), f"the lane {thread.name} did not end"

    def _follow(self, seed: int, lane: Lane) -> None:
        for fault in draw_faults(seed, lane, has_tokens=self._field.tokens is not None):
            if lane is not Lane.BROKERS:
                self._wait_for_work()
            if self._stopping.is_set():
                return
            with self._field.history.fault(fault) as outcome:
                self._acts[fault.kind](fault, outcome)
            if self._stopping.wait(fault.pause_seconds):
                return

    def _wait_for_work(self) -> None:
        """Wait, within a bound, until every shard runs: on a slow machine none ever would else."""
        fleet, shards = self._field.fleet, self._field.topics.shards
        for _ in range(int(SETTLE_SECONDS / SETTLE_POLL_SECONDS)):
            running = {shard for held in fleet.running_shards().values() for shard in held}
            if len(running) == shards or self._stopping.wait(SETTLE_POLL_SECONDS):
                return

    def _hold(self, fault: Fault) -> None:
        self._stopping.wait(fault.hold_seconds)

    def _choose(self, fault: Fault, outcome: Outcome) -> int:
        fleet = self._field.fleet
        named = fault.kind.name
        static = True if "STATIC" in named else False if "DYNAMIC" in named else None
        place = fleet.choose(fault.victim, static=static)
        outcome.resolved["place"] = place
        outcome.resolved["shards"] = fleet.running_shards().get(place, [])
        return place

    def _kill(self, fault: Fault, outcome: Outcome) -> None:
        place = self._choose(fault, outcome)
        with self._field.fleet.empty(place):
            self._field.fleet.kill(place)
            self._hold(fault)

    def _terminate(self, fault: Fault, outcome: Outcome) -> None:
        place = self._choose(fault, outcome)
        with self._field.fleet.empty(place):
            self._field.fleet.terminate(place)
            self._hold(fault)

    def _freeze(self, fault: Fault, outcome: Outcome) -> None:
        with self._field.fleet.frozen(self._choose(fault, outcome)):
            self._hold(fault)

    def _time_out(self, fault: Fault, outcome: Outcome) -> None:
        """Freeze a service whose EndTxn is held back on its way, so that a transaction is open."""
        place = self._choose(fault, outcome)
        effect = Effect(place=place, api_key=END_TXN, delay_seconds=fault.delay_seconds)
        with ExitStack() as stack:
            with self._field.proxy.trouble(effect):
                outcome.resolved["open"] = self._wait_until_held(place, END_TXN)
                stack.enter_context(self._field.fleet.frozen(place))
            self._hold(fault)

    def _scale(self, fault: Fault, outcome: Outcome) -> None:
        for count in (FEWEST, MOST, USUAL):
            self._field.fleet.scale(count)
            outcome.resolved.setdefault("counts", []).append(count)
            if count != USUAL:
                self._hold(fault)

    def _add_partitions(self, fault: Fault, outcome: Outcome) -> None:
        cluster, topic = self._field.cluster, self._field.topics.input
        there = cluster.partitions(topic)
        total = min(there + 1 + int(fault.target * 2), MOST_INPUT_PARTITIONS)
        outcome.resolved["partitions"] = [there, total]
        if total > there:
            self._field.brokers.add_partitions(topic, total)

    def _delete_offsets(self, _: Fault, outcome: Outcome) -> None:
        topics = self._field.topics
        deleted = self._field.tools.delete_offsets(topics.group, topics.input)
        outcome.resolved["partitions"] = deleted

    def _delete_group(self, fault: Fault, outcome: Outcome) -> None:
        fleet, topics = self._field.fleet, self._field.topics
        with fleet.empty(*PLACES):
            # Side by side: one after the other would hand all shards to the last one first.
            ending = [
                threading.Thread(target=fleet.terminate, args=(place,), daemon=True)
                for place in PLACES
            ]
            for thread in ending:
                thread.start()
            for thread in ending:
                thread.join()
            wait_until(
                lambda: self._is_deleted(topics.group), DELETE_SECONDS, what="a deleted group"
            )
            outcome.resolved["deleted"] = topics.group
            self._hold(fault)

    def _is_deleted(self, group: str) -> bool:
        try:
            self._field.tools.delete_group(group)
        except ToolFailedError:  # it still has members, or no coordinator
            return False
        return True

    def _break_broker(self, fault: Fault, outcome: Outcome) -> None:
        brokers, topics = self._field.brokers, self._field.topics
        shard = int(fault.target * topics.shards)
        if fault.kind.name.endswith("TRANSACTION_COORDINATOR"):
            outcome.resolved["transactional_id"] = name = f"{topics.group}-{shard}"
            node = brokers.transaction_coordinator(name)
        elif fault.kind.name.endswith("GROUP_COORDINATOR"):
            node = brokers.group_coordinator(topics.group)
        else:
            ours = (topics.input, topics.ready, topics.changelog, topics.repartition)
            topic = ours[int(fault.victim * len(ours))]
            outcome.resolved["partition"] = f"{topic}/{shard}"
            node = brokers.leader(topic, shard)
        outcome.resolved["node"] = node
        with brokers.down(node, killed=fault.kind.name.startswith("KILL")):
            self._hold(fault)

    def _freeze_broker(self, fault: Fault, outcome: Outcome) -> None:
        nodes = self._field.brokers.nodes
        outcome.resolved["node"] = node = nodes[int(fault.target * len(nodes))]
        with self._field.brokers.frozen(node):
            self._hold(fault)

    def _change_addresses(self, _: Fault, outcome: Outcome) -> None:
        """Give every broker its other address, and then end the first one."""
        self._address = outcome.resolved["address"] = 1 - self._address
        self._field.brokers.change_addresses(advertised(self._field.proxy, self._address))
        self._field.proxy.serve_only(self._address)

    def _leave_transaction_open(self, fault: Fault, outcome: Outcome) -> None:
        """Write to an input partition in a transaction, and end it late: commit or abort."""
        topic, number = self._field.topics.input, fault.number
        settings = {**self._field.cluster.settings, "transactional.id": f"foreign-{number}"}
        producer = Producer({**settings, "transaction.timeout.ms": 60_000})
        producer.init_transactions(TRANSACTION_SECONDS)
        producer.begin_transaction()
        partition = int(fault.target * self._field.cluster.partitions(topic))
        value = compact(content_of(f"ftckpt_foreign_{number}"))
        producer.produce(topic, value, partition=partition)
        producer.flush(TRANSACTION_SECONDS)
        self._hold(fault)
        is_committed = fault.victim < 0.5
        outcome.resolved.update(partition=partition, committed=is_committed)
        if is_committed:
            producer.commit_transaction(TRANSACTION_SECONDS)
        else:
            producer.abort_transaction(TRANSACTION_SECONDS)

    def _forget_idle(self, fault: Fault, outcome: Outcome) -> None:
        before = self._field.proxy.forgotten
        with self._field.proxy.trouble(Effect(forgets_after_seconds=fault.delay_seconds)):
            self._hold(fault)
        outcome.resolved["forgotten"] = self._field.proxy.forgotten - before

    def _throttle(self, fault: Fault, outcome: Outcome) -> None:
        tools = self._field.tools
        outcome.resolved["bytes_per_second"] = QUOTA_BYTES
        tools.set_quota(producer_byte_rate=QUOTA_BYTES, consumer_byte_rate=QUOTA_BYTES)
        try:
            self._hold(fault)
        finally:
            tools.set_quota()

    def _break_token_endpoint(self, fault: Fault, outcome: Outcome) -> None:
        tokens = self._field.tokens
        assert tokens is not None
        is_down = fault.kind is Kind.TOKENS_DOWN
        requests = len(tokens.requests)
        with tokens.down() if is_down else tokens.hanging():
            self._stopping.wait(fault.hold_seconds + is_down * tokens.lifetime_seconds)
        outcome.resolved["requests"] = len(tokens.requests) - requests

    def _trouble_broker(self, fault: Fault, outcome: Outcome) -> None:
        nodes = self._field.brokers.nodes
        outcome.resolved["node"] = node = nodes[int(fault.target * len(nodes))]
        self._trouble(fault, outcome, Effect(node=node))

    def _trouble_service(self, fault: Fault, outcome: Outcome) -> None:
        self._trouble(fault, outcome, Effect(place=self._choose(fault, outcome)))

    def _trouble(self, fault: Fault, outcome: Outcome, effect: Effect) -> None:
        if fault.kind in {Kind.CUT_BROKER, Kind.CUT_SERVICE}:
            effect = effect._replace(is_refusing=True)
        else:
            effect = effect._replace(delay_seconds=fault.delay_seconds)
        before = self._field.proxy.delayed.total()
        with self._field.proxy.trouble(effect):
            self._hold(fault)
        outcome.resolved["requests_delayed"] = self._field.proxy.delayed.total() - before

    def _delay_end_txn(self, fault: Fault, outcome: Outcome) -> None:
        before = self._field.proxy.delayed[END_TXN]
        effect = Effect(api_key=END_TXN, delay_seconds=fault.delay_seconds)
        with self._field.proxy.trouble(effect):
            self._hold(fault)
        outcome.resolved["requests_delayed"] = self._field.proxy.delayed[END_TXN] - before

    def _delay_init_producer_id(self, fault: Fault, outcome: Outcome) -> None:
        """Delay it everywhere, and kill a service, so that shards must be fenced meanwhile."""
        before = self._field.proxy.delayed[INIT_PRODUCER_ID]
        effect = Effect(api_key=INIT_PRODUCER_ID, delay_seconds=fault.delay_seconds)
        with self._field.proxy.trouble(effect):
            self._field.fleet.kill(self._choose(fault, outcome))
            self._hold(fault)
        after = self._field.proxy.delayed[INIT_PRODUCER_ID]
        outcome.resolved["requests_delayed"] = after - before

    def _wait_until_held(self, place: int, api_key: int) -> bool:
        for _ in range(int(HELD_SECONDS / POLL_SECONDS)):
            if self._field.proxy.is_holding(place, api_key):
                return True
            if self._stopping.wait(POLL_SECONDS):
                break
        return False
