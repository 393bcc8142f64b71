"""This host's part in Services: what its proxy is told of the host, routes to pods of other hosts, flows.

Rule: idempotent and cheap; what did not change is not done again, and what failed is tried with the next heartbeat.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from mesh.errors import Unavailable
from mesh.model import protocol
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import Flows, FlowsRequest, HostPort, HostSide, IngressSecrets, Neighbour, ProxyHeld, ServiceTable
from nodeagent.config import AgentConfig
from nodeagent.desired import Desired
from nodeagent.ingress import serves
from nodeagent.proxy import OnHeld, ProxyPort

log = structlog.get_logger()

ZONE = "topology.kubernetes.io/zone"
Placed = Iterable[tuple[Pod, str]]  # pods of this host that have an address of their own


class HostNetwork(Protocol):
    """The host's own network."""

    def addresses(self) -> list[str]:
        """The host's IPv4 addresses, loopback among them."""
        ...

    def upstreams(self) -> list[str]:
        """The name servers of the host."""
        ...

    def connect(self, neighbours: Sequence[Neighbour]) -> None:
        """Makes the pods of these hosts reachable, and no others'; blocks; raises OSError."""
        ...


def telling(hold: OnHeld, warn: Callable[[str], None]) -> OnHeld:
    """Passes on what the proxy says; `warn` hears of each problem when it begins."""
    told: set[str] = set()

    def said(held: ProxyHeld | None) -> None:
        hold(held)
        if held is not None:
            for problem in sorted(set(held.problems) - told):
                warn(problem)
            told.intersection_update(held.problems)
            told.update(held.problems)

    return said


class Services:
    """One host's; without a proxy or without a network that part is left out."""

    def __init__(
        self, config: AgentConfig, proxy: ProxyPort | None, network: HostNetwork | None, placed: Callable[[], Placed]
    ) -> None:
        self._config = config
        self._proxy = proxy
        self._network = network
        self._placed = placed
        self._desired = Desired()
        self.leaving: Callable[[], bool] = lambda: False  # the host is being shut down
        self._connected: tuple[Neighbour, ...] | None = None

    async def run(self) -> None:
        """Talks to the proxy for ever."""
        if self._proxy is not None:
            await self._proxy.run()

    def program(self, table: ServiceTable) -> None:
        """Passes a piece of the table on; raises Unavailable."""
        self._there().program(table)

    async def flows(self, request: FlowsRequest) -> Flows:
        """What the proxy carries; raises Unavailable."""
        return await self._there().flows(request)

    async def follow(self, desired: Desired) -> None:
        """Brings the host in line with an order, or with itself when nothing new was ordered."""
        self._desired = desired
        self.refresh()
        wanted = desired.neighbours
        if self._network is None or wanted == self._connected:
            return
        try:
            await asyncio.to_thread(self._network.connect, wanted)
        except OSError as error:
            log.error("cannot_reach_other_hosts", why=str(error))
        else:
            self._connected = wanted

    def refresh(self) -> None:
        """Tells the proxy what the host is now: its addresses or its pods' ports may have changed."""
        if self._proxy is not None and self._desired.service_cidr:
            self._proxy.host(self._side())

    def entrust(self, secrets: IngressSecrets | None) -> None:
        """Gives the proxy what the host's ingress needs; None: what it has stays."""
        if self._proxy is not None and secrets is not None:
            self._proxy.secrets(secrets)

    def _there(self) -> ProxyPort:
        if self._proxy is None:
            raise Unavailable(f"cannot reach the proxy of {self._config.node_name}: this host has none")
        return self._proxy

    def _side(self) -> HostSide:
        desired, network = self._desired, self._network
        return HostSide(
            node=self._config.node_name,
            zone=desired.node_labels.get(ZONE, ""),
            node_addresses=network.addresses() if network is not None else [self._config.node_ip],
            cluster_cidr=desired.cluster_cidr,
            service_cidr=desired.service_cidr,
            pod_cidr=desired.pod_cidr or self._config.pod_cidr,
            dns_address=desired.names.dns_address,
            dns_zone=desired.names.domain,
            upstreams=network.upstreams() if network is not None else [],
            neighbours=desired.neighbours,
            leaving=self.leaving(),
            ingress=serves(desired.node_labels),
            workers=self._config.proxy_workers,
            protocol=protocol.ours(),
            host_ports=[port for pod, ip in self._placed() for port in host_ports(pod, ip)],
        )


def host_ports(pod: Pod, ip: str) -> list[HostPort]:
    """The ports of the host that lead to a pod; on the host's network they are its own already."""
    if pod.spec.host_network or not ip:
        return []
    meta = pod.metadata
    return [
        HostPort(
            pod_uid=meta.uid, pod=f"{meta.namespace}/{meta.name}", host_ip=port.host_ip, port=port.host_port,
            protocol=port.protocol or "TCP", ip=ip, container_port=port.container_port,
        )
        for container in (*pod.spec.init_containers, *pod.spec.containers)
        for port in container.ports
        if port.host_port
    ]  # fmt: skip
