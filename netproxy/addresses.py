"""The addresses of Services on this host: made the host's own, and load balancers' told to the hosts' network.

Rule: what can't be held or told is logged; addresses that are there by themselves still work.
"""

import asyncio

import structlog

from netproxy.announce import announce
from netproxy.vips import Vips

log = structlog.get_logger()
ANNOUNCED_AFTER = (0.0, 1.0, 3.0)  # seconds; a frame may be lost


class Addresses:
    """One host's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._vips = Vips()
        self._announced: set[str] = set()  # load balancers' addresses that are here
        self._node = ""

    def hold(self, service_cidr: str, others: set[str], node: str) -> None:
        """Takes the range of Services and the `others`, of load balancers; `node` is the host's own address."""
        self._node = node
        try:
            self._vips.hold(service_cidr, others, node)
        except OSError as error:  # without the right to
            log.error("addresses_not_held", error=str(error))
        fresh, self._announced = others - self._announced, others
        if fresh:
            for after in ANNOUNCED_AFTER:
                self._loop.call_later(after, self._announce, fresh)

    def _announce(self, addresses: set[str]) -> None:
        """Tells the hosts' network who has these addresses, as far as this host still has them."""
        try:
            announce(sorted(addresses & self._announced), self._node)
        except OSError as error:
            log.error("addresses_not_announced", error=str(error))
