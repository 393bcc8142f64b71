"""A draft: a copy of what a user sent, on its way to be an object of the store, with what is wrong with it so far.

Rule: steps in order (begin or keep, complete, check_change, raise_if_wrong); nothing given is mutated.
"""

from mesh.admission import (
    access,
    allocate,
    applied,
    autoscaling,
    budgets,
    config,
    defaults,
    ingress,
    pods,
    priority,
    services,
    storage,
    workloads,
)
from mesh.errors import Invalid, Violation
from mesh.model import rules
from mesh.model.fields import copy_of, has, part, transfer
from mesh.model.kinds import Object, key_of, kind_of
from mesh.model.manifest import OBJECT_LIMIT
from mesh.model.unknown import unknown_field
from mesh.v1.auth_pb2 import Role, RoleBinding
from mesh.v1.core_pb2 import (
    ConfigMap,
    Event,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Secret,
    ServiceAccount,
)
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.net_pb2 import AddressReservation, Endpoints, EndpointSlice, Ingress, IngressClass, Service
from mesh.v1.policy_pb2 import HorizontalPodAutoscaler, PodDisruptionBudget, PriorityClass
from mesh.view import View

_MESH_WRITES = ("uid", "resource_version", "generation", "creation_timestamp", "deletion_timestamp",
                "deletion_grace_period_seconds")  # fmt: skip
_NAME_LIMIT = 58  # of generateName before its five characters (A1)


def subject_of(obj: Object) -> str:
    """How messages name an object: Pod "web"."""
    return f'{kind_of(obj).name} "{obj.metadata.name or obj.metadata.generate_name}"'


class Draft:
    """A copy of an object, the violations and the warnings found while it is completed."""

    def __init__(self, obj: Object) -> None:
        self.object: Object = copy_of(obj)
        self.kind = kind_of(obj)
        self.wrong: list[Violation] = []
        self.warnings: list[str] = []

    @property
    def subject(self) -> str:
        """How messages name it."""
        return subject_of(self.object)

    def begin(self, suffix: str) -> None:
        """Makes it a new object: without what only the mesh writes, with a name and a namespace."""
        self.clean(None)
        meta = self.object.metadata
        transfer(ObjectMeta(), meta, *_MESH_WRITES)
        if not meta.name and meta.generate_name:
            meta.name = meta.generate_name[:_NAME_LIMIT] + suffix
        if self.kind.namespaced and not meta.namespace:
            meta.namespace = "default"
        self.object.api_version, self.object.kind = self.kind.api_version, self.kind.name

    def clean(self, old: Object | None) -> None:
        """Leaves out a status and annotations that are not the user's to write."""
        obj = self.object
        if has(obj, "status"):
            if old is None or part(obj, "status") != part(old, "status"):
                self.warnings.append(f"{self.subject}: status is the mesh's to write and was left out")
            transfer(_nothing(obj), obj, "status")
        if applied.FOREIGN in obj.metadata.annotations:
            del obj.metadata.annotations[applied.FOREIGN]
            self.warnings.append(f'{self.subject}: metadata.annotations["{applied.FOREIGN}"] was left out')

    def keep(self, old: Object) -> None:
        """Makes it the successor of `old`: what only the mesh writes is as in `old`."""
        if key_of(self.object) != key_of(old):
            self.wrong.append(Violation("metadata.name", f"may not change: it is {key_of(old)}"))
        self.clean(old)
        transfer(old.metadata, self.object.metadata, *_MESH_WRITES, "generate_name")
        if has(old, "status"):
            transfer(old, self.object, "status")
        self.object.api_version, self.object.kind = self.kind.api_version, self.kind.name
        if isinstance(self.object, Service) and isinstance(old, Service):
            services.carry(self.object, old)

    def refuse_unserved(self) -> None:
        """A kind whose behaviour does not work yet is refused by name; raises Invalid."""
        if not self.kind.served:
            reason = f"{self.kind.name} is not honoured yet: {self.kind.why_not}"
            raise Invalid.of(self.subject, [Violation("kind", reason)])

    def refuse_unknown(self, old: Object | None = None) -> None:
        """Fields that a newer client knows would be heeded by nobody here; what `old` has of them may stay. Raises
        Invalid."""
        if (where := unknown_field(self.object)) and (old is None or not unknown_field(old)):
            reason = "is not known to this release, a newer client has sent it: use a client of meshd's release"
            raise Invalid.of(self.subject, [Violation(where, reason)])

    def complete(self, old: Object | None = None) -> None:
        """Fills in defaults and checks the whole; warns of nothing that `old` has already."""
        obj = self.object
        wrong, warnings = _written(obj)
        self.wrong += wrong
        self._warn(warnings, _written(old)[1] if old is not None else [])
        defaults.fill(obj)
        self.wrong += rules.check_object(obj)
        self._warn(_warnings(obj), _warnings(old) if old is not None else [])
        if isinstance(obj, Pod):
            self.wrong += pods.check(obj)
        elif isinstance(obj, workloads.KINDS):
            self.wrong += workloads.check(obj)
        elif isinstance(obj, ConfigMap):
            self.wrong += config.check_config_map(obj)
        elif isinstance(obj, Secret):
            self.wrong += config.check_secret(obj)
        elif isinstance(obj, PersistentVolume | PersistentVolumeClaim):
            self.wrong += storage.check(obj)
        elif isinstance(obj, Service):
            self.wrong += services.check(obj)
        elif isinstance(obj, PodDisruptionBudget):
            self.wrong += budgets.check(obj)
        elif isinstance(obj, HorizontalPodAutoscaler):
            self.wrong += autoscaling.check(obj)
        elif isinstance(obj, Ingress | IngressClass):
            self.wrong += ingress.check(obj)
        elif isinstance(obj, Role | RoleBinding | ServiceAccount):
            self._complete_access(obj, old)
        elif isinstance(obj, Event) and obj.involved_object.namespace not in ("", obj.metadata.namespace):
            self.wrong.append(Violation("involvedObject.namespace", "must be the namespace of the event"))
        if (size := obj.ByteSize()) > OBJECT_LIMIT:
            self.wrong.append(Violation("", f"is too large: {size} bytes, at most {OBJECT_LIMIT} (1.5 MiB)"))

    def _complete_access(self, obj: Role | RoleBinding | ServiceAccount, old: Object | None) -> None:
        if isinstance(obj, Role):
            self.wrong += access.check_role(obj)
            known = list(access.role_warnings(old)) if isinstance(old, Role) else []
            self.warnings += [f"{self.subject}: {w}" for w in access.role_warnings(obj) if w not in known]
        elif isinstance(obj, RoleBinding):
            self.wrong += access.check_binding(obj)
        else:
            self.wrong += access.check_account(obj)

    def check_change(self, old: Object) -> None:
        """What may not differ from `old` (A6, V9)."""
        new = self.object
        if isinstance(new, Pod) and isinstance(old, Pod):
            self.wrong += pods.check_change(new, old)
        elif isinstance(new, workloads.KINDS) and isinstance(old, workloads.KINDS):
            self.wrong += workloads.check_change(new, old)
        elif isinstance(new, ConfigMap | Secret) and isinstance(old, ConfigMap | Secret):
            self.wrong += config.check_change(new, old)
        elif isinstance(new, PersistentVolume | PersistentVolumeClaim) and isinstance(
            old, PersistentVolume | PersistentVolumeClaim
        ):
            self.wrong += storage.check_change(new, old)
        elif isinstance(new, Service) and isinstance(old, Service):
            self.wrong += services.check_change(new, old)
        elif isinstance(new, AddressReservation) and isinstance(old, AddressReservation):
            self.wrong += services.check_reservation_change(new, old)
        elif isinstance(new, RoleBinding) and isinstance(old, RoleBinding):
            self.wrong += access.check_change(new, old)
        elif isinstance(new, PriorityClass) and isinstance(old, PriorityClass):
            self.wrong += priority.check_change(new, old)
        elif isinstance(new, Node) and isinstance(old, Node):
            self._check_node_change(new, old)
        if isinstance(new, IngressClass) and isinstance(old, IngressClass):
            self.wrong += ingress.check_class_change(new, old)
        added = [f for f in new.metadata.finalizers if f not in old.metadata.finalizers]
        if added and old.metadata.HasField("deletion_timestamp"):
            self.wrong.append(Violation("metadata.finalizers", "may not be added to while it is being deleted"))

    def _check_node_change(self, new: Node, old: Node) -> None:
        for name, mine, theirs in (
            ("podCIDR", new.spec.pod_cidr, old.spec.pod_cidr),
            ("providerID", new.spec.provider_id, old.spec.provider_id),
        ):
            if theirs and mine != theirs:
                self.wrong.append(Violation(f"spec.{name}", f"may not change from {theirs}"))

    def place(self, view: View, ranges: allocate.Ranges, seed: str) -> None:
        """Gives it the addresses and ports that it needs; raises Invalid with all that is wrong by then."""
        obj = self.object
        if isinstance(obj, Endpoints):
            self.wrong += services.check_endpoints(obj, view)
        elif isinstance(obj, EndpointSlice):
            self.wrong += services.check_slice(obj, view)
        self.raise_if_wrong()
        if isinstance(obj, Service):
            self.wrong += allocate.place(obj, view, ranges, seed)
            if obj.spec.type == "LoadBalancer" and not obj.status.load_balancer.ingress and not self.wrong:
                self.warnings.append(
                    f"{self.subject}: has no address, for meshd.toml has no network.load_balancer_pool"
                )
        elif isinstance(obj, AddressReservation):
            self.wrong += allocate.reserve(obj, view, ranges, seed)
        elif isinstance(obj, Ingress):
            self.wrong += ingress.place(obj, view, ranges)
        self.raise_if_wrong()

    def spec_differs(self, old: Object) -> bool:
        """Whether the wish itself changed: then its generation counts up."""
        return part(self.object, "spec") != part(old, "spec")

    def _warn(self, warnings: list[str], known: list[str]) -> None:
        self.warnings += [f"{self.subject}: {warning}" for warning in warnings if warning not in known]

    def raise_if_wrong(self) -> None:
        """Raises Invalid with everything found, each thing once."""
        if self.wrong:
            raise Invalid.of(self.subject, list(dict.fromkeys(self.wrong)))


def _written(obj: Object) -> tuple[list[Violation], list[str]]:
    """What this release does not honour of it, and warnings; before defaults."""
    if isinstance(obj, Pod):
        return pods.written(obj)
    return workloads.written(obj) if isinstance(obj, workloads.KINDS) else ([], [])


def _warnings(obj: Object) -> list[str]:
    if isinstance(obj, Pod):
        return pods.warnings(obj)
    if isinstance(obj, Ingress):
        return ingress.warnings(obj)
    return workloads.warnings(obj) if isinstance(obj, workloads.KINDS) else []


def _nothing(obj: Object) -> Object:
    return type(obj)()
