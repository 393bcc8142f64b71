"""Connections in which nothing has been said for longer than their Service allows (`mesh/idle-timeout-seconds`).

Rule: time is an argument, and a byte costs nothing: a look now and then compares how much each connection has carried
with what it had carried before. So a connection lives a quarter of its time longer at most.
"""

from collections.abc import Iterable

from netproxy.links import Link

SOONEST, LATEST = 0.1, 10.0  # seconds between two looks


def over(links: Iterable[Link], now: float) -> tuple[list[Link], float]:
    """Those whose time is over, and the seconds until the next look; 0: none of them has a limit."""
    ended, soon = [], 0.0
    for link in links:
        limit = link.pool.route.tuning.idle_timeout
        if not limit:
            continue
        carried = link.client.count + link.server.count
        if carried != link.carried or not link.quiet:
            link.carried, link.quiet = carried, now
        elif now - link.quiet >= limit:
            ended.append(link)
            continue
        wait = min(max(limit / 4, SOONEST), LATEST)
        soon = min(soon or wait, wait)
    return ended, soon
