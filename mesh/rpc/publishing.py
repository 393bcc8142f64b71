"""The Service `kubernetes`, by which pods reach the mesh's API, and where it leads: the doors for tokens (E7, E14).

Rule: written once at each start. Without a door for tokens there is no Service.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from mesh.admission import admit, allocate
from mesh.admission.admit import Stamp
from mesh.errors import Invalid, MeshError
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import revision_of
from mesh.model.services import KUBERNETES, SERVICE_LABEL
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Store, Write
from mesh.v1.net_pb2 import EndpointSlice, Service
from mesh.view import View

PORT = 443
_AGAIN = 5.0  # seconds until a store that takes nothing is tried again
_SLICE = Key("EndpointSlice", KUBERNETES.namespace, KUBERNETES.name)
_log = structlog.get_logger("mesh.rpc")


@dataclass(frozen=True, slots=True)
class Publishing:
    """`doors` are addresses and ports where pods may come with their tokens; `clock`: nanoseconds since the epoch."""

    store: Store
    feed: Feed
    clock: Callable[[], int]
    ranges: allocate.Ranges
    doors: Sequence[tuple[str, int]] = ()

    async def run(self) -> None:
        """Until it is written."""
        while self.doors:
            try:
                await change(self.store, self.feed, self._writes)
            except MeshError as error:
                _log.warning("not_published", error=str(error))
                await asyncio.sleep(_AGAIN)
            else:
                return

    def _writes(self, view: View) -> list[Write]:
        writes = []
        if view.get(KUBERNETES) is None:
            service = self._service(view)
            guard = allocate.guard(view, [(service, None)])
            writes += [Write(KUBERNETES, service, 0), *([guard] if guard else [])]
        held = view.get(_SLICE)
        made = copy_of(held) if isinstance(held, EndpointSlice) else self._slice()
        for field in ("endpoints", "ports"):
            made.ClearField(field)
        first = self.doors[0][1]
        made.ports.add(name="https", protocol="TCP", port=first)
        for address in sorted({address for address, port in self.doors if port == first}):
            made.endpoints.add(addresses=[address]).conditions.ready = True
        if made != held:
            writes.append(Write(_SLICE, made, revision_of(held) if held is not None else 0))
        return writes

    def _service(self, view: View) -> Service:
        service = Service(api_version="v1", kind="Service")
        service.metadata.namespace, service.metadata.name = KUBERNETES.namespace, KUBERNETES.name
        service.metadata.labels.update({"component": "apiserver", "provider": "kubernetes"})
        service.spec.ports.add(name="https", protocol="TCP", port=PORT)
        service.spec.cluster_ip = str(self.ranges.network.network_address + 1)
        stamp = Stamp(self.clock(), str(uuid.uuid4()), "", self.ranges)
        try:
            made = admit.create(service, view, stamp).object
        except Invalid:  # an older mesh has given the address to somebody else
            service.spec.ClearField("cluster_ip")
            made = admit.create(service, view, stamp).object
        assert isinstance(made, Service)  # noqa: S101 - what was given in comes out
        return made

    def _slice(self) -> EndpointSlice:
        """The mesh's own, so it is not asked what users may write: a loopback address is no endpoint of theirs."""
        made = EndpointSlice(api_version="discovery.k8s.io/v1", kind="EndpointSlice", address_type="IPv4")
        made.metadata.namespace, made.metadata.name, made.metadata.uid = (
            _SLICE.namespace,
            _SLICE.name,
            str(uuid.uuid4()),
        )
        made.metadata.creation_timestamp.seconds = self.clock() // 1_000_000_000
        made.metadata.labels[SERVICE_LABEL] = KUBERNETES.name
        return made
