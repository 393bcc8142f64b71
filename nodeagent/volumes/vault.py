"""The host's Secrets, sealed, in this process' memory alone; opened for the moment of use.

Rule: nothing of it is written or logged. It holds what the newest Assignment names and nothing else: with the last pod
that needs a Secret its box goes. The key is of this process: a new agent has a new one, and is given everything anew.
"""

from collections.abc import Callable, Iterable, Mapping

from google.protobuf.message import DecodeError

from mesh.errors import Conflict, Invalid
from mesh.sealing import Context, PrivateKey, PublicKey
from mesh.v1.core_pb2 import Secret
from mesh.v1.node_pb2 import Refusal, SealedSecret
from nodeagent.secrets import Held, Refs, Secrets


class Vault:
    """One host's; `refused` hears of each box that does not open."""

    def __init__(self, node: str, refused: Callable[[Refusal], None] = lambda _: None) -> None:
        self._node = node
        self._refused = refused
        self._key = PrivateKey()
        self._boxes: dict[tuple[str, str], SealedSecret] = {}

    @property
    def public(self) -> PublicKey:
        """To which Secrets for this host are sealed."""
        return self._key.public

    def take(self, sealed: Iterable[SealedSecret]) -> None:
        """Holds these and nothing else; one without a box is held already.

        Raises Conflict, and changes nothing, when one is not, or was sealed to another key: send all of them.
        """
        fresh: dict[tuple[str, str], SealedSecret] = {}
        for entry in sealed:
            at = (entry.namespace, entry.name)
            if entry.box:
                kept: SealedSecret | None = entry
            else:
                kept = self._boxes.get(at)
                if kept is not None and (kept.uid, kept.revision) != (entry.uid, entry.revision):
                    kept = None
            if kept is None or kept.key_id != self.public.id:
                where = f"{entry.namespace}/{entry.name} at revision {entry.revision}"
                raise Conflict(f"cannot take secret {where}: its box is missing, or is for another key of this host")
            fresh[at] = kept
        self._boxes = fresh

    def open(self, namespace: str, refs: Refs) -> Secrets:
        """The values of those that are held, and of the others why not. A box that does not open is as one withheld."""
        data: dict[str, Mapping[str, bytes]] = {}
        types, away = {}, {}
        for name, ref in refs.items():
            box = self._boxes.get((namespace, name))
            if isinstance(ref, str):
                away[name] = ref
            elif box is None or Held(box.uid, box.revision) != ref:
                away[name] = "is not in memory"
            else:
                try:
                    secret = self._opened(box)
                except Invalid as error:
                    away[name] = f"can't be opened: {error.message}"
                    self._refused(_refusal(box, error.message))
                else:
                    data[name], types[name] = dict(secret.data), secret.type
        return Secrets(data, types, away)

    def _opened(self, box: SealedSecret) -> Secret:
        context = Context(self._node, box.key_id, box.namespace, box.name, box.uid, box.revision)
        try:
            return Secret.FromString(self._key.open(box.box, context))
        except DecodeError as error:
            raise Invalid("it holds no Secret") from error

    def __repr__(self) -> str:
        return f"Vault({len(self._boxes)} secrets)"


def _refusal(box: SealedSecret, why: str) -> Refusal:
    return Refusal(namespace=box.namespace, name=box.name, uid=box.uid, revision=box.revision, why=why, method="assign")
