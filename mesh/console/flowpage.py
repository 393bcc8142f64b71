"""Who talks to whom: the connections that the hosts' proxies carry now, as a table and as a picture.

Rule: pure; what the hosts say is given. Of many pairs those with most connections are shown.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from mesh.console.html import Html, join, link, table, tag
from mesh.console.reader import Reader
from mesh.v1.node_pb2 import Flows, ServiceFlows

MOST = 40  # pairs
_ROW, _LEFT, _RIGHT = 24, 250, 560  # of the picture
_Pair = tuple[str, str]  # who asks, "namespace/name" of the Service


def page(reader: Reader, flows: Mapping[str, Flows | str]) -> Html:
    """`flows` by host: what its proxy carries, or why it did not say."""
    known = ((p.status.pod_ip, f"{p.metadata.namespace}/{p.metadata.name}") for p in reader.view.pods())
    names = {address: name for address, name in known if address}
    pairs: Counter[_Pair] = Counter()
    rows: list[tuple[object, ...]] = []
    for host, said in sorted(flows.items()):
        if isinstance(said, str):
            continue
        for service in said.services:
            if reader.may("list", "Service", service.service.partition("/")[0]):
                pairs.update(_pairs(service, names, host))
                rows += _backends(service, host)
    shown = [pair for pair, _ in pairs.most_common(MOST)]
    silent = [tag("p", f"{host}: {why}", class_="warn") for host, why in sorted(flows.items()) if isinstance(why, str)]
    titles = ("Service", "Host", "Behind it", "Open", "Begun", "Failed")
    return join([
        tag("h1", "Flows"), *silent,
        tag("h2", "Who talks to whom now"), _picture(shown, pairs) if shown else tag("p", "nobody", class_="dim"),
        tag("h2", "What was carried"), table(titles, rows[:200], "nothing yet"),
    ])  # fmt: skip


def _pairs(service: ServiceFlows, names: Mapping[str, str], host: str) -> Iterator[_Pair]:
    for flow in service.connections:
        address = flow.client.rpartition(":")[0]
        yield names.get(address) or (f"{host} itself" if address.startswith("127.") else address), service.service


def _backends(service: ServiceFlows, host: str) -> Iterator[tuple[object, ...]]:
    for one in service.backends:
        namespace, _, name = one.pod.partition("/")
        where = link(name, "pods", namespace, name) if name else f"{one.ip}:{one.port}"
        yield service.service, host, where, one.open, one.total, one.failed


def _middle(names: Sequence[str], name: str) -> int:
    """Where a name stands."""
    return _ROW * (names.index(name) + 1)


def _picture(shown: Sequence[_Pair], pairs: Mapping[_Pair, int]) -> Html:
    """Those who ask on the left, Services on the right, a line for each pair."""
    left = list(dict.fromkeys(asking for asking, _ in shown))
    right = list(dict.fromkeys(service for _, service in shown))
    height = _ROW * (max(len(left), len(right)) + 1)
    parts = [tag("text", name, x=_LEFT - 8, y=_middle(left, name) + 4, text__anchor="end") for name in left]
    parts += [tag("text", name, x=_RIGHT + 8, y=_middle(right, name) + 4) for name in right]
    for asking, service in shown:
        count = pairs[asking, service]
        words = tag("title", f"{asking} to {service}: {count} open")
        parts.append(tag("line", words, x1=_LEFT, y1=_middle(left, asking), x2=_RIGHT, y2=_middle(right, service),
                         stroke__width=min(1 + count / 4, 6)))  # fmt: skip
    return tag("svg", *parts, width=820, height=height, viewBox=f"0 0 820 {height}", role="img", class_="flows")
