"""Services, their pods and hosts for tests, in one line each."""

from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.net_pb2 import Service, ServicePort, ServiceSpec
from tests.harness.objects import pod as any_pod


def pod(name: str, ip: str, *, ready: bool = True, node: str = "a", phase: str = "Running", **labels: str) -> Pod:
    made = any_pod(name, node_name=node)
    made.metadata.uid = f"uid-{name}"
    made.metadata.labels.update(labels or {"app": "web"})
    made.status.pod_ip, made.status.phase = ip, phase
    made.status.conditions.add(type="Ready", status="True" if ready else "False")
    return made


def node(name: str, ready: str = "True", zone: str = "z1") -> Node:
    made = Node(metadata=ObjectMeta(name=name, labels={"topology.kubernetes.io/zone": zone}))
    made.status.conditions.add(type="Ready", status=ready)
    return made


def given_up(name: str) -> Node:
    """A host that is silent and whose pods are driven away."""
    made = node(name, "Unknown")
    made.spec.taints.add(key="node.kubernetes.io/unreachable", effect="NoExecute")
    return made


def service(name: str = "web", port: ServicePort | None = None, *, selector: bool = True, **spec: object) -> Service:
    made = Service(metadata=ObjectMeta(name=name, namespace="default"), spec=ServiceSpec(**spec))  # type: ignore[arg-type]
    made.spec.ports.append(port or ServicePort(port=80))
    if selector:
        made.spec.selector["app"] = "web"
    return made
