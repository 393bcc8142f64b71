"""Which address a new sandbox gets: the lowest free one of the host's range that was not in use a moment ago.

Rule: pure; time is an argument. An address given back rests for `QUARANTINE` seconds, so that a peer that still holds
a connection to the old pod doesn't reach the new one; when nothing else is free the one that rested longest is taken.
"""

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv4Network

QUARANTINE = 30.0


def gateway(pod_cidr: str) -> str:
    """The bridge's own address in a host's range: the first."""
    return str(IPv4Network(pod_cidr)[1])


def choose(pod_cidr: str, taken: Collection[str], released: Mapping[str, float], now: float) -> str | None:
    """An address for a new sandbox, or None when the range is full; `released` says when an address was given back."""
    network = IPv4Network(pod_cidr)
    resting: tuple[float, str] | None = None
    for number in range(int(network.network_address) + 2, int(network.broadcast_address)):
        address = str(IPv4Address(number))
        if address in taken:
            continue
        since = released.get(address)
        if since is None or now - since >= QUARANTINE:
            return address
        if resting is None or since < resting[0]:
            resting = (since, address)
    return resting[1] if resting else None
