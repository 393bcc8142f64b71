"""What a controller is: which keys an event concerns, and a pure function from a key and the view to a plan.

Rule: `reconcile` reads only its arguments. It is called again after its own writes are in the view, so a plan says
the next step, not the whole way; writes carry the revision they were decided on in `expect`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mesh.model.keys import Key
from mesh.store.port import Event, Write
from mesh.view import View


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes for one commit, and in how many seconds to look at the key again without an event; None: never. `apart`:
    keys to look at by themselves, for what failed within a key that stands for many."""

    writes: Sequence[Write] = ()
    requeue_after: float | None = None
    apart: Sequence[Key] = ()


NOTHING = Plan()


class Controller(Protocol):
    """One kind's way to its desired state. Keys need not be of objects: one made-up key serialises everything."""

    @property
    def name(self) -> str:
        """The name in logs."""
        ...

    def keys(self, event: Event) -> Iterable[Key]:
        """The keys to reconcile after `event`; on start every object comes as a new one."""
        ...

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The next step for `key`; `now_ns` is nanoseconds since the epoch."""
        ...
