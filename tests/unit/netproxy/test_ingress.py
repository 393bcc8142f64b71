"""The pure part of ingress: slots stay, weights follow the share, and the text has only what is safe."""

from mesh.v1.net_pb2 import IngressSpec
from mesh.v1.node_pb2 import ProxyEndpoint, ProxyIngress, ProxyPort, ProxyService
from netproxy.ingress.haproxy import Place, rendered
from netproxy.ingress.routes import FEWEST, Plan, Slot, plan_of, slots_for, weighed
from netproxy.routes import Backend


def backends(*names: str) -> list[Backend]:
    return [Backend(name, 80, name, name) for name in names]


def slots(*names: str) -> list[Slot]:
    return [Slot(b) for b in backends(*names)]


def names(found: tuple[Slot | None, ...]) -> list[str]:
    return [slot.backend.ip if slot else "" for slot in found]


def test_who_has_a_slot_keeps_it_and_one_that_still_carries_something_is_given_to_nobody() -> None:
    first = slots_for(slots("a", "b", "c"), (), ())
    assert names(first) == ["a", "b", "c", *[""] * 5]
    second = slots_for(slots("c", "d", "a"), first, {1})
    assert names(second) == ["a", "", "c", "d", *[""] * 4]
    assert names(slots_for(slots("c", "d", "a", "e"), second, ())) == ["a", "e", "c", "d", *[""] * 4]


def test_there_are_more_slots_when_they_are_too_few_and_fewer_when_far_too_many() -> None:
    many = slots_for(slots(*map(str, range(FEWEST + 1))), (None,) * FEWEST, ())
    assert len(many) == 32
    assert len(slots_for(slots("1", "2", "3", "4"), many, ())) == 32
    assert len(slots_for(slots("1"), many, ())) == FEWEST


def test_a_canarys_pods_together_weigh_their_share() -> None:
    for percent in (0, 10, 50, 100):
        found = weighed(backends("a", "b", "c"), backends("x", "y"), percent)
        heavy = [s.weight for s in found]
        assert abs(sum(heavy[3:]) * 100 / sum(heavy) - percent) < 1, percent
    assert [s.weight for s in weighed(backends("a"), [], 50)] == [100]


def ingress(host: str = "foo.test", path: str = "/x", secret: str = "") -> ProxyIngress:
    spec = IngressSpec()
    one = spec.rules.add(host=host).http.paths.add(path=path, path_type="Prefix")
    one.backend.service.name, one.backend.service.port.number = "web", 80
    if secret:
        spec.tls.add(hosts=[host], secret_name=secret)
    return ProxyIngress(uid="u", created=1, spec=spec)


def service(*ips: str, protocol: str = "") -> ProxyService:
    ready = [ProxyEndpoint(ip=ip, ports=[8080], ready=True, serving=True, pod_uid=ip) for ip in ips]
    port = ProxyPort(port=80, protocol="TCP", app_protocol=protocol)
    return ProxyService(namespace="default", name="web", ports=[port], endpoints=ready)


def plan(one: ProxyIngress, *ips: str) -> Plan:
    return plan_of({"default/web": one}, {"default/web": service(*ips)}, {}, {}, ("10.0.0.1",))


def test_moved_endpoints_leave_the_skeleton_as_it_is_and_routes_do_not() -> None:
    place = Place("/run/x")
    some, others = (rendered(plan(ingress(), ip), place, {}, {}) for ip in ("10.1.1.1", "10.1.1.2"))
    assert some.skeleton == others.skeleton
    assert some.files["haproxy.cfg"] != others.files["haproxy.cfg"]
    assert rendered(plan(ingress(path="/y"), "10.1.1.1"), place, {}, {}).skeleton != some.skeleton


def test_what_would_end_a_line_or_a_word_never_gets_into_a_file() -> None:
    evil = "/x\nserver evil 6.6.6.6:80"
    files = rendered(plan(ingress(path=evil), "10.1.1.1"), Place("/run/x"), {}, {}).files
    assert not any("6.6.6.6" in text for text in files.values())
    evil = ingress(secret="shop")
    evil.options["mesh/basic-auth-secret"] = "users"
    text = "ada:$6$salt$0123456789\nbob:plain\neve:$6$a'b$0123456789\nx y:$6$salt$0123456789"
    files = rendered(plan(evil), Place("/run/x"), {"default/users": text}, {}).files
    assert [line for line in files["haproxy.cfg"].splitlines() if "password" in line] == [
        "  user ada password '$6$salt$0123456789'"
    ]


def test_a_pod_that_speaks_tls_is_not_sent_plain_text() -> None:
    made = plan_of({"default/web": ingress()}, {"default/web": service("10.1.1.1", protocol="https")}, {}, {})
    (pool,) = made.pools.values()
    assert (set(pool.slots), "https is not honoured" in pool.why) == ({None}, True)


def test_there_is_https_only_with_a_certificate_and_the_default_comes_first() -> None:
    shop = plan(ingress(secret="shop"))
    place = Place("/run/x")
    assert " ssl " not in rendered(shop, place, {}, {}).files["haproxy.cfg"]
    files = rendered(shop, place, {}, {"": "own.pem", "default/shop": "shop.pem"}).files
    assert files["certificates.list"] == "/run/x/own.pem nobody.invalid\n/run/x/shop.pem foo.test\n"
    assert "bind 10.0.0.1:443 ssl crt-list" in files["haproxy.cfg"]
