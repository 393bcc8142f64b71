"""What a controller fails on: counted, and told as an Event of the object.

Rule: the error's own words stay in meshd's log, for they may hold what is secret. Who can't tell goes on.
"""

from collections.abc import Callable, Sequence

import structlog

from mesh.errors import MeshError
from mesh.exposition.text import Family
from mesh.model.keys import Key
from mesh.reconcile.record import record
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Store, Write
from mesh.view import View

log = structlog.get_logger(__name__)

RECONCILES = Family("controller_runtime_reconcile_total", "counter", "Keys that controllers worked on, by result.")


async def tell(store: Store, feed: Feed, clock: Callable[[], int], controller: str, key: Key, error: Exception) -> None:
    """An Event of the object, when there is one; `clock` gives nanoseconds since the epoch."""
    message = f"the controller {controller} fails on it ({type(error).__name__}); meshd's log tells where"

    def compute(view: View) -> Sequence[Write]:
        about = view.get(key)
        if about is None or key.kind == "Event":
            return ()
        return record(view, about, "ControllerFailed", message, clock(), warning=True)

    try:
        await change(store, feed, compute)
    except MeshError as refused:
        log.warning("failure_not_told", controller=controller, key=str(key), why=refused.message)
