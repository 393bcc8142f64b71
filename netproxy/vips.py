"""Service addresses are the host's own: an AnyIP route for the range, one for each other address that Services name.

Rules: no rules of a packet filter, no addresses on links. Routes of a former process that nobody wants any more are
removed; addresses that the host has by itself are left alone.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network

import structlog

from netproxy.netlink import Netlink

log = structlog.get_logger()


class Vips:
    """The ranges of this network namespace that are ours."""

    def __init__(self) -> None:
        self._held: dict[IPv4Network, str] = {}
        self._first = True

    def hold(self, service_cidr: str, others: Iterable[str], source: str) -> None:
        """Makes these the host's own, and none else; local clients come from `source`. Nothing before
        the range is known. Raises OSError."""
        if not service_cidr and not self._held:
            return
        with Netlink() as link:
            here = link.addresses()
            wanted = {IPv4Network(f"{ip}/32") for ip in others if ip not in here and ":" not in ip}
            if service_cidr:
                wanted.add(IPv4Network(service_cidr))
            source = source if source in here else ""
            gone = (link.owned() if self._first else set(self._held)) - wanted
            for network in wanted:
                if self._held.get(network) != source:
                    link.own(network, source)
                    self._held[network] = source
            for network in gone:
                link.disown(network)
                self._held.pop(network, None)
            self._first = False
