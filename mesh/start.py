"""What meshd does to the store at each start: the namespaces that must be there, and a fence of its own (A10).

Rule: the epoch is larger than any before it, also after a restore from a backup: it is the clock's milliseconds, or
one more than the newest epoch stored when the clock went back. Agents refuse what an older epoch orders.
"""

import uuid
from collections.abc import Callable

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.admission.config import INITIAL_NAMESPACES
from mesh.controllers.accounts import account_of
from mesh.model.annotations import counted
from mesh.model.keys import Key
from mesh.model.kinds import revision_of
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Store, Write
from mesh.v1.core_pb2 import Namespace
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.view import View

EPOCH = "mesh/epoch"  # annotation of the namespace kube-system
_KEEPER = Key("Namespace", "", "kube-system")


async def begin(store: Store, feed: Feed, clock: Callable[[], int]) -> int:
    """Prepares the store in one commit; returns this meshd's epoch. Raises Unavailable."""
    epoch = 0

    def compute(view: View) -> list[Write]:
        nonlocal epoch
        epoch = max(clock() // 1_000_000, _held(view) + 1)
        namespaces = [write for name in INITIAL_NAMESPACES if (write := _write(name, view, clock(), epoch))]
        fresh = [write.object for write in namespaces if write.expect == 0 and isinstance(write.object, Namespace)]
        return namespaces + [account_of(namespace, clock()) for namespace in fresh]

    await change(store, feed, compute)
    return epoch


def _held(view: View) -> int:
    keeper = view.get(_KEEPER)
    return (counted(keeper.metadata.annotations.get(EPOCH)) or 0) if keeper is not None else 0


def _write(name: str, view: View, now_ns: int, epoch: int) -> Write | None:
    held = view.namespace(name)
    if held is not None and name != _KEEPER.name:
        return None
    namespace = Namespace()
    if held is not None:
        namespace.CopyFrom(held)
    else:
        wanted = Namespace(api_version="v1", kind="Namespace", metadata=ObjectMeta(name=name))
        made = admit.create(wanted, view, Stamp(now_ns, str(uuid.uuid4()), "")).object
        namespace.CopyFrom(made)  # type: ignore[arg-type]  # what was given in comes out
    if name == _KEEPER.name:
        namespace.metadata.annotations[EPOCH] = str(epoch)
    return Write(Key("Namespace", "", name), namespace, revision_of(held) if held is not None else 0)
