"""From what is listened on to what shall be: the moves, and no more than those.

Rule: pure. A listener whose address stays is never closed: a changed route is a Swap. Two Services that want one
address: the first by name has it, the other has it as soon as the first lets go.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from netproxy.routes import Listen, Route


@dataclass(frozen=True, slots=True)
class Open:
    """Listen here and serve so."""

    listen: Listen
    route: Route


@dataclass(frozen=True, slots=True)
class Swap:
    """New connections go another way; the listener and open connections stay."""

    listen: Listen
    route: Route


@dataclass(frozen=True, slots=True)
class Close:
    """Stop listening; open connections stay."""

    listen: Listen


Move = Open | Swap | Close


@dataclass(slots=True)
class Claims:
    """Who wants which address; owned by the one who applies the moves."""

    by_owner: dict[str, Mapping[Listen, Route]] = field(default_factory=dict)
    wanted: dict[Listen, dict[str, Route]] = field(default_factory=dict)
    serving: dict[Listen, Route] = field(default_factory=dict)

    def claim(self, owner: str, routes: Mapping[Listen, Route]) -> set[Listen]:
        """Replaces what `owner` wants; returns the addresses that this touches."""
        before = self.by_owner.pop(owner, {})
        if routes:
            self.by_owner[owner] = routes
        touched = {listen for listen in {**before, **routes} if before.get(listen) != routes.get(listen)}
        for listen in touched:
            owners = self.wanted.setdefault(listen, {})
            if listen in routes:
                owners[owner] = routes[listen]
            else:
                owners.pop(owner, None)
                if not owners:
                    del self.wanted[listen]
        return touched

    def moves(self, touched: Iterable[Listen]) -> Iterator[Move]:
        """What is to be done for these addresses, closing first; taken as done."""
        opening: list[Move] = []
        for listen in sorted(touched):
            owners = self.wanted.get(listen)
            had = self.serving.get(listen)
            if not owners:
                if had is not None:
                    del self.serving[listen]
                    yield Close(listen)
                continue
            route = owners[min(owners)]
            if route == had:
                continue
            self.serving[listen] = route
            opening.append(Open(listen, route) if had is None else Swap(listen, route))
        yield from opening
