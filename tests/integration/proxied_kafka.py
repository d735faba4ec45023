"""Brokers that the service and a librdkafka client reach through a proxy, each by its own links."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from dev.kafka import LocalKafka
from tests.chaos.effects import Link
from tests.chaos.proxy import Proxy
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

SHARDS = 3
SERVICE, BESIDE = 1, 2  # the places of the links: the service, and librdkafka beside it
LISTENERS = {SERVICE: "SERVICE", BESIDE: "BESIDE"}


class ProxiedKafka(NamedTuple):
    """The brokers, and the proxy in front of them. The cluster is reached without the proxy."""

    kafka: LocalKafka
    proxy: Proxy
    cluster: Cluster

    def bootstrap_servers(self, place: int) -> str:
        """Return the brokers' own addresses; they send their clients to the proxy."""
        return self.kafka.listener(LISTENERS[place])

    def requests(self, place: int, api_key: int) -> dict[int, int]:
        """Return how many requests of this kind each node has got through the proxy."""
        return {
            node: sum(
                count
                for (link, key), count in list(self.proxy.requests.items())
                if (link.place, link.node, key) == (place, node, api_key)
            )
            for node in self.kafka.nodes
        }

    def forgotten(self, place: int) -> int:
        """Return how many connections from here the proxy has forgotten."""
        found = list(self.proxy.forgotten_by_link.items())
        return sum(count for link, count in found if link.place == place)

    @contextmanager
    def service(self, names: Names, **settings: Any) -> Iterator[tuple[Deployment, ServiceProcess]]:  # noqa: ANN401 - variables
        """Run the service behind the proxy, with topics that it creates. It ends in order."""
        ours: dict[str, Any] = {
            "BOOTSTRAP_SERVERS": self.proxy.addresses(SERVICE),
            "CREATE_TOPICS": True,
        }
        with Deployment(
            self.cluster,
            names,
            input_partitions=SHARDS,
            create_topics=False,
            **(ours | settings),
        ) as deployment:
            service = deployment.start()
            deployment.wait_until_running(SHARDS, service)
            yield deployment, service
            assert service.has_ended or service.terminate() == 0


@contextmanager
def proxied_kafka(nodes: int = 1, *, addresses: int = 1, **options: Any) -> Iterator[ProxiedKafka]:  # noqa: ANN401 - those of LocalKafka
    """Run brokers whose clients are sent to the first of some addresses of a proxy."""
    links = [
        Link(place, node, address)
        for place in LISTENERS
        for node in range(1, nodes + 1)
        for address in range(addresses)
    ]
    with (
        Proxy(links) as proxy,
        LocalKafka(
            nodes,
            extra_listeners=dict.fromkeys(LISTENERS.values(), "PLAINTEXT"),
            advertised_ports=advertised(proxy, nodes),
            **options,
        ) as kafka,
    ):
        proxy.start({link: broker_port(kafka, link) for link in links})
        yield ProxiedKafka(kafka, proxy, Cluster(kafka.bootstrap_servers))


def advertised(proxy: Proxy, nodes: int, address: int = 0) -> dict[str, dict[int, int]]:
    """Return the ports of the proxy that the nodes advertise: {listener: {node: port}}."""
    return {
        name: {node: proxy.port(Link(place, node, address)) for node in range(1, nodes + 1)}
        for place, name in LISTENERS.items()
    }


def broker_port(kafka: LocalKafka, link: Link) -> int:
    """Return the port of the broker at the other end of a link."""
    servers = kafka.listener(LISTENERS[link.place]).split(",")
    return int(servers[link.node - 1].rpartition(":")[2])
