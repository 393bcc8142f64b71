"""Admission of Services: defaults, allocation, what is refused and what may change (X1 to X4, X7, X17 to X19)."""

import ipaddress
from collections.abc import Callable

import pytest

from mesh.admission import admit, allocate
from mesh.admission.admit import Stamp
from mesh.admission.allocate import Ranges
from mesh.config import pool_of
from mesh.errors import Invalid
from mesh.model.kinds import Object, key_of, revision_of
from mesh.store.port import Event
from mesh.v1.net_pb2 import AddressReservation, Service
from mesh.view import View

Read = Callable[[str], Object]
POOL = pool_of(("10.77.0.200-10.77.0.202",))
RANGES = Ranges(pool=POOL)


def service(name: str = "web", spec: str = "ports: [{port: 80}]", annotations: str = "{}") -> str:
    return f"""
    apiVersion: v1
    kind: Service
    metadata: {{name: {name}, annotations: {annotations}}}
    spec: {{selector: {{app: web}}, {spec}}}
    """


@pytest.fixture
def serving(stamp: Stamp) -> Stamp:
    return Stamp(stamp.now, stamp.uid, stamp.suffix, RANGES)


class Mesh:
    """Applies manifests one after another, as the Resources service would."""

    def __init__(self, view: View, read: Read) -> None:
        self.view, self._read, self._number = view, read, 0

    def apply(self, text: str, ranges: Ranges = RANGES) -> Service:
        made = self.object(text, ranges)
        assert isinstance(made, Service)
        return made

    def object(self, text: str, ranges: Ranges = RANGES) -> Object:
        self._number += 1
        obj = self._read(text)
        old = self.view.get(key_of(obj))
        made = admit.apply(obj, old, self.view, Stamp(1, f"uid-{self._number}", "abcde", ranges)).object
        if made is not old:
            made.metadata.resource_version = str(100 + self._number)
            self.view.apply([Event(100 + self._number, key_of(made), made, old)])
        return made

    def remove(self, obj: Object) -> None:
        self._number += 1
        self.view.apply([Event(100 + self._number, key_of(obj), None, obj)])

    def refusal(self, text: str, ranges: Ranges = RANGES) -> dict[str, str]:
        with pytest.raises(Invalid) as caught:
            self.object(text, ranges)
        return {v.field: v.reason for v in caught.value.violations}


@pytest.fixture
def mesh(view: View, read: Read) -> Mesh:
    return Mesh(view, read)


def test_what_kubernetes_fills_in(mesh: Mesh) -> None:
    spec = mesh.apply(service(spec="ports: [{port: 80}], sessionAffinity: ClientIP")).spec
    assert (spec.type, spec.internal_traffic_policy, spec.external_traffic_policy) == ("ClusterIP", "Cluster", "")
    assert (spec.ports[0].protocol, spec.ports[0].target_port.int_value, spec.ports[0].node_port) == ("TCP", 80, 0)
    assert spec.session_affinity_config.client_ip.timeout_seconds == 10800  # X7
    assert list(spec.cluster_ips) == [spec.cluster_ip]
    assert (spec.ip_family_policy, list(spec.ip_families)) == ("SingleStack", ["IPv4"])


def test_addresses_come_from_the_dynamic_band_and_are_unique(mesh: Mesh) -> None:
    small = Ranges(service_cidr="10.9.0.0/26")  # 62 addresses: 16 static, 46 dynamic
    held = [mesh.apply(service(f"s{n}"), small).spec.cluster_ip for n in range(61)]
    last = [int(address.rpartition(".")[2]) for address in held]
    assert len(set(last)) == 61
    assert all(17 <= n <= 62 for n in last[:46])  # X2: the upper band first
    assert all(1 <= n <= 16 and n != 10 for n in last[46:])  # then the lower one, without the name service's own
    assert mesh.refusal(service("more"), small) == {"spec.clusterIP": "no address is left in 10.9.0.0/26"}


def test_the_static_band_is_a_share_of_the_whole_range(view: View) -> None:
    ranges = Ranges(service_cidr="10.9.0.0/23")  # 512 addresses: 32 of them static
    given = set[ipaddress.IPv4Address]()
    for seed in range(5000):
        made = AddressReservation()
        assert not allocate.reserve(made, view, ranges, str(seed))
        given.add(ipaddress.IPv4Address(made.spec.address))
    assert len(given) == 510 - 32
    assert min(given) == ipaddress.IPv4Address("10.9.0.33")


@pytest.mark.parametrize(("size", "static"), [(256, 16), (65536, 256), (4096, 256), (16, 0)])
def test_the_static_band_of_addresses(size: int, static: int) -> None:
    assert allocate.band(size, 16, 256, 16) == static  # min(max(16, size/16), 256), none of what has no more


def test_the_static_band_of_ports() -> None:
    assert allocate.band(2768, 16, 128, 32) == 86  # X3


def test_an_address_that_is_named_is_honoured_and_refused_when_held(mesh: Mesh) -> None:
    assert mesh.apply(service(spec="clusterIP: 10.96.0.77, ports: [{port: 80}]")).spec.cluster_ip == "10.96.0.77"
    text = service("other", "clusterIP: 10.96.0.77, ports: [{port: 80}]")
    assert mesh.refusal(text) == {"spec.clusterIP": "10.96.0.77 is held by the Service default/web"}
    outside = mesh.refusal(service("other", "clusterIP: 10.1.0.1, ports: [{port: 80}]"))
    assert outside == {"spec.clusterIP": "10.1.0.1 is not one of 10.96.0.0/16"}
    own = mesh.refusal(service("other", "clusterIP: 10.96.0.10, ports: [{port: 80}]"))
    assert own == {"spec.clusterIP": "10.96.0.10 is the name service's own"}


def test_an_address_never_changes(mesh: Mesh) -> None:
    mesh.apply(service(spec="clusterIP: 10.96.0.77, ports: [{port: 80}]"))
    assert "spec.clusterIP" in mesh.refusal(service(spec="clusterIP: 10.96.0.78, ports: [{port: 80}]"))
    assert "spec.clusterIP" in mesh.refusal(service(spec="clusterIP: None, ports: [{port: 80}]"))
    assert mesh.apply(service(spec="ports: [{port: 81}]")).spec.cluster_ip == "10.96.0.77"


def test_node_ports(mesh: Mesh) -> None:
    two = "type: NodePort, ports: [{name: a, port: 80}, {name: b, port: 80, protocol: UDP}]"
    made = mesh.apply(service(spec=two))
    ports = [p.node_port for p in made.spec.ports]
    assert all(30086 <= p <= 32767 for p in ports)  # X3: the first 86 are for those who name them
    assert ports[0] == ports[1]  # one port in both protocols, as clients of a name service want it
    assert made.spec.external_traffic_policy == "Cluster"
    assert [p.node_port for p in mesh.apply(service(spec=two)).spec.ports] == ports  # and they stay
    fixed = service("fixed", "type: NodePort, ports: [{port: 80, nodePort: 30001}]")
    assert mesh.apply(fixed).spec.ports[0].node_port == 30001
    taken = mesh.refusal(service("other", "type: NodePort, ports: [{port: 80, nodePort: 30001}]"))
    assert taken == {
        "spec.ports[0].nodePort": "30001 is held by the Service default/fixed".replace("30001", "TCP/30001")
    }
    udp = service("udp", "type: NodePort, ports: [{port: 80, protocol: UDP, nodePort: 30001}]")
    assert mesh.apply(udp).spec.ports[0].node_port == 30001  # the other protocol is another port (X4)
    assert "spec.ports[0].nodePort" in mesh.refusal(service("x", "type: NodePort, ports: [{port: 80, nodePort: 80}]"))


def test_a_node_port_that_another_holds_in_one_protocol_is_not_the_same_in_both(mesh: Mesh) -> None:
    udp = service("udp", "type: NodePort, ports: [{port: 80, protocol: UDP, nodePort: 30200}]")
    mesh.apply(udp)
    two = "type: NodePort, ports: [{name: a, port: 53, nodePort: 30200}, {name: b, port: 53, protocol: UDP}]"
    tcp, other = (p.node_port for p in mesh.apply(service(spec=two)).spec.ports)
    assert (tcp, other != 30200, other >= 30086) == (30200, True, True)


def test_a_health_check_port_is_refused_when_none_is_left(mesh: Mesh) -> None:
    few = Ranges(node_ports=range(30000, 30001), pool=RANGES.pool)
    local = "type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]"
    assert "spec.healthCheckNodePort" in mesh.refusal(service(spec=local), few)


def test_types_change(mesh: Mesh) -> None:
    address = mesh.apply(service(spec="type: NodePort, ports: [{port: 80}]")).spec.cluster_ip
    plain = mesh.apply(service(spec="type: ClusterIP, ports: [{port: 80}]"))
    assert (plain.spec.cluster_ip, plain.spec.ports[0].node_port) == (address, 0)
    assert plain.spec.external_traffic_policy == ""
    balanced = mesh.apply(service(spec="type: LoadBalancer, ports: [{port: 80}]"))
    assert balanced.status.load_balancer.ingress[0].ip == "10.77.0.200"
    assert balanced.spec.ports[0].node_port >= 30086  # X1: LoadBalancer is more than NodePort
    name = mesh.apply(service(spec="type: ExternalName, externalName: example.com, ports: [{port: 80}]"))
    assert (name.spec.cluster_ip, list(name.spec.cluster_ips)) == ("", [])
    assert not name.status.load_balancer.ingress
    assert not mesh.view.holders(f"address/{address}")  # and others may have it
    again = mesh.apply(service(spec="type: ClusterIP, ports: [{port: 80}]"))
    assert again.spec.cluster_ip.startswith("10.96.")


def test_the_name_of_another_is_left_behind_with_its_type(mesh: Mesh, serving: Stamp) -> None:
    named = mesh.apply(service(spec="type: ExternalName, externalName: example.com, ports: [{port: 80}]"))
    patched = admit.patch({"spec": {"type": "ClusterIP"}}, named, mesh.view, serving).object
    assert isinstance(patched, Service)
    assert (patched.spec.external_name, patched.spec.cluster_ip[:6]) == ("", "10.96.")
    with pytest.raises(Invalid, match=r"spec\.externalName"):
        admit.patch({"spec": {"type": "ClusterIP", "externalName": "new.example"}}, named, mesh.view, serving)


def test_load_balancers(mesh: Mesh) -> None:
    wanted = "type: LoadBalancer, loadBalancerIP: 10.77.0.201, ports: [{port: 80}]"
    assert mesh.apply(service("a", wanted)).status.load_balancer.ingress[0].ip == "10.77.0.201"
    assert "spec.loadBalancerIP" in mesh.refusal(service("b", wanted))
    assert "spec.loadBalancerIP" in mesh.refusal(service("b", wanted.replace("201", "99")))
    any_ = "type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]"
    b = mesh.apply(service("b", any_))
    assert (b.status.load_balancer.ingress[0].ip, b.spec.ports[0].node_port) == ("10.77.0.200", 0)
    mesh.apply(service("c", any_))
    assert "spec.type" in mesh.refusal(service("d", any_))
    mesh.remove(b)
    assert mesh.apply(service("d", any_)).status.load_balancer.ingress[0].ip == "10.77.0.200"


def test_without_a_pool_a_load_balancer_waits(mesh: Mesh) -> None:
    text = service(spec="type: LoadBalancer, ports: [{port: 80}]")
    assert not mesh.apply(text, Ranges()).status.load_balancer.ingress
    assert mesh.apply(text, RANGES).status.load_balancer.ingress[0].ip == "10.77.0.200"  # once there is one


def test_health_check_ports(mesh: Mesh) -> None:
    local = "type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]"
    port = mesh.apply(service(spec=local)).spec.health_check_node_port
    assert port in range(30086, 32768)  # X9
    assert mesh.apply(service(spec=local)).spec.health_check_node_port == port
    named = local.replace("Local,", "Local, healthCheckNodePort: 30005,")
    assert "spec.healthCheckNodePort" in mesh.refusal(service(spec=named))
    assert mesh.apply(service("other", named)).spec.health_check_node_port == 30005
    assert mesh.apply(service(spec=local.replace("Local", "Cluster"))).spec.health_check_node_port == 0


def reservation(name: str, spec: str = "{}") -> str:
    return f"{{apiVersion: mesh/v1, kind: AddressReservation, metadata: {{name: {name}}}, spec: {spec}}}"


def test_a_reserved_address_outlives_its_service(mesh: Mesh) -> None:
    held = mesh.object(reservation("front"))
    assert isinstance(held, AddressReservation)
    address = held.spec.address
    text = service(annotations="{mesh/address-reservation: front}")
    first = mesh.apply(text)
    assert first.spec.cluster_ip == address
    mesh.remove(first)
    other = mesh.refusal(service("other", f"clusterIP: {address}, ports: [{{port: 80}}]"))
    assert "is reserved by the AddressReservation default/front" in other["spec.clusterIP"]
    assert mesh.apply(text).spec.cluster_ip == address
    assert "spec.clusterIP" in mesh.refusal(text.replace("name: web,", "name: twin,"))  # one at a time
    assert "spec" in mesh.refusal(reservation("front", "{address: 10.96.0.99}"))


def test_a_reserved_address_of_load_balancers(mesh: Mesh) -> None:
    mesh.object(reservation("out", "{type: LoadBalancer, address: 10.77.0.202}"))
    text = service(spec="type: LoadBalancer, ports: [{port: 80}]", annotations="{mesh/address-reservation: out}")
    assert mesh.apply(text).status.load_balancer.ingress[0].ip == "10.77.0.202"
    where = 'metadata.annotations["mesh/address-reservation"]'
    assert where in mesh.refusal(service("b", annotations="{mesh/address-reservation: out}"))
    assert where in mesh.refusal(service("b", annotations="{mesh/address-reservation: none}"))


REFUSED = {
    "no port": ("ports: []", "spec.ports", "is required"),
    "ports without names": ("ports: [{port: 1}, {port: 2}]", "spec.ports[0].name", "several"),
    "the same name twice": ("ports: [{name: a, port: 1}, {name: a, port: 2}]", "spec.ports[1].name", "another port"),
    "SCTP": ("ports: [{port: 1, protocol: SCTP}]", "spec.ports[0].protocol", "TCP and UDP"),
    "a target port too high": ("ports: [{port: 1, targetPort: 70000}]", "spec.ports[0].targetPort", "65535"),
    "a target port's name": ("ports: [{port: 1, targetPort: no--name}]", "spec.ports[0].targetPort", "letter"),
    "a node port of ClusterIP": ("ports: [{port: 1, nodePort: 30000}]", "spec.ports[0].nodePort", "needs type"),
    "headless with node ports": ("type: NodePort, clusterIP: None, ports: [{port: 1}]", "spec.clusterIP", "None"),
    "a name without a name": ("type: ExternalName", "spec.externalName", "is required"),
    "an address of a name": ("type: ExternalName, externalName: a.b, clusterIP: 10.96.0.9", "spec.clusterIP", "absent"),
    "a name that is none": ("type: ExternalName, externalName: a_b", "spec.externalName", "lower-case"),
    "two families": ("ipFamilyPolicy: RequireDualStack, ports: [{port: 1}]", "spec.ipFamilyPolicy", "IPv6"),
    "affinity's time alone": ("sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}, ports: [{port: 1}]",
                              "spec.sessionAffinityConfig", "ClientIP"),
    "ranges without a balancer": ("loadBalancerSourceRanges: [10.0.0.0/8], ports: [{port: 1}]",
                                  "spec.loadBalancerSourceRanges", "needs type LoadBalancer"),
    "a range that is none": ("type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.1/8], ports: [{port: 1}]",
                             "spec.loadBalancerSourceRanges[0]", "IPv4 range"),
    "a class of balancers": ("type: LoadBalancer, loadBalancerClass: a/b, ports: [{port: 1}]",
                             "spec.loadBalancerClass", "no classes"),
    "an external loopback": ("externalIPs: [127.0.0.1], ports: [{port: 1}]", "spec.externalIPs[0]", "no address"),
    "a policy of nothing": ("externalTrafficPolicy: Local, ports: [{port: 1}]", "spec.externalTrafficPolicy", "needs"),
    "a health port of nothing": ("healthCheckNodePort: 30001, ports: [{port: 1}]", "spec.healthCheckNodePort", "Local"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_by_field(name: str, mesh: Mesh) -> None:
    spec, field, words = REFUSED[name]
    assert words in mesh.refusal(service(spec=spec)).get(field, "")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("mesh/balance: fastest", "must be one of random, round-robin, least-connections"),
        ("mesh/max-connections: '0'", "must be a whole number of 1 to"),
        ("mesh/slow: '1'", "is not known"),
        ("mesh/encrypted: 'yes'", "must be one of true, false"),
        ("mesh/idle-timeout-seconds: '0'", "must be a whole number of 1 to"),
    ],
)
def test_tuning_is_checked_by_name(annotation: str, words: str, mesh: Mesh) -> None:
    (reason,) = mesh.refusal(service(annotations=f"{{{annotation}}}")).values()
    assert words in reason


@pytest.mark.parametrize(
    ("spec", "words"),
    [("ports: [{port: 80}]", ""),
     ("clusterIP: None, ports: [{port: 80}]", "needs an address"),
     ("type: ExternalName, externalName: a.example", "needs an address"),
     ("ports: [{port: 80, name: a}, {port: 80, name: b, protocol: UDP}]", "is for TCP alone"),
     ("ports: [{port: 80}]", "needs a selector")],
)  # fmt: skip
def test_encryption_is_promised_only_where_it_can_be_kept(spec: str, words: str, mesh: Mesh) -> None:
    asked = service(spec=spec, annotations="{mesh/encrypted: 'true'}")
    if "selector" in words:
        asked = asked.replace("selector: {app: web}, ", "")
    if not words:
        assert mesh.object(asked)
        return
    assert words in mesh.refusal(asked)['metadata.annotations["mesh/encrypted"]']


def test_endpoints_of_a_selector_are_nobodys_to_write(mesh: Mesh) -> None:
    mesh.apply(service())
    endpoints = "{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: [{addresses: [{ip: 10.0.0.1}]}]}"
    assert "has a selector" in mesh.refusal(endpoints)["metadata.name"]
    assert mesh.object(endpoints.replace("name: web", "name: elsewhere"))
    slice_ = """
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: a, labels: {kubernetes.io/service-name: web}}
    addressType: IPv4
    endpoints: [{addresses: [10.0.0.1]}]
    """
    assert any("has a selector" in why for why in mesh.refusal(slice_).values())
    assert mesh.refusal(slice_.replace("web", "other").replace("10.0.0.1", "127.0.0.1"))


def test_what_gives_out_an_address_can_only_be_committed_once(mesh: Mesh) -> None:
    """Two writers that rest on the same view: the guard makes the second one's commit fail."""
    mesh.apply(service())
    view = mesh.view
    one = admit.create(mesh._read(service("one")), view, Stamp(1, "same", "abcde", RANGES)).object
    two = admit.create(mesh._read(service("two")), view, Stamp(1, "same", "abcde", RANGES)).object
    assert isinstance(one, Service)
    assert isinstance(two, Service)
    assert one.spec.cluster_ip == two.spec.cluster_ip  # the view knows of neither
    first, second = allocate.guard(view, [(one, None)]), allocate.guard(view, [(two, None)])
    assert first is not None
    assert second is not None
    assert (first.key, first.expect) == (second.key, second.expect)
    held = view.get(key_of(mesh.apply(service())))
    assert held is not None
    assert revision_of(held)
    assert allocate.guard(view, [(held, held)]) is None  # a change that gives out nothing holds nobody up
