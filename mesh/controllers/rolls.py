"""Rolls workloads whose pods ask for it when a Secret that they use has changed (`mesh/on-secret-change: roll`).

Rule: pure. A workload remembers, in an annotation of its own, which Secrets it has seen at which revision; other ones
change its template, and its own controller rolls it. The first look only remembers, and a Secret that is away is waited
for. Only uids and revisions are written down: nothing of a value can be guessed from them.
"""

from collections.abc import Iterable

from mesh.admission.admit import Stamp, update
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.references import used_secrets_of
from mesh.model.secretchange import ROLLING, SEEN, rolls
from mesh.model.workloads import digits
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.apps_pb2 import DaemonSet, Deployment, StatefulSet
from mesh.v1.core_pb2 import Secret
from mesh.view import View

ROLLED = ("Deployment", "StatefulSet", "DaemonSet")  # what has a way to replace its pods
Rolled = Deployment | StatefulSet | DaemonSet


class Rolls:
    """See the module."""

    name = "rolls"

    def keys(self, event: Event) -> Iterable[Key]:
        """The workload, or the Secret: who uses it is found when it is looked at."""
        return (event.key,) if event.key.kind in ROLLED or event.key.kind == "Secret" else ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """What the workloads that this is about have to take down, or to roll for."""
        if key.kind in ROLLED:
            held = view.get(key)
            found = [held] if isinstance(held, Rolled) else []
        else:
            every = (w for kind in ROLLED for w in view.of_kind(kind, key.namespace) if isinstance(w, Rolled))
            found = [w for w in every if key.name in used_secrets_of(w.spec.template.spec)]
        writes = [write for workload in found for write in _step(workload, view, now_ns)]
        return Plan(writes) if writes else NOTHING


def _step(held: Rolled, view: View, now: int) -> list[Write]:
    if not rolls(held.spec.template.metadata.annotations) or held.metadata.HasField("deletion_timestamp"):
        return []
    seen = _seen(held, view)
    before = held.metadata.annotations.get(SEEN, "")
    if not seen or seen == before:
        return []
    changed = copy_of(held)
    changed.metadata.annotations[SEEN] = seen
    told: list[Write] = []
    if before:
        changed.spec.template.metadata.annotations[ROLLING] = seen
        told = record(view, held, "SecretChanged", "A Secret that its pods use has changed: they are replaced", now)
    wanted = update(changed, held, view, Stamp(now, "", "")).object
    return [Write(key_of(held), wanted, revision_of(held)), *told]


def _seen(held: Rolled, view: View) -> str:
    """The Secrets that its pods use, as they are now; "" while one of them is away."""
    words = []
    for name in sorted(used_secrets_of(held.spec.template.spec)):
        secret = view.get(Key("Secret", held.metadata.namespace, name))
        if not isinstance(secret, Secret):
            return ""
        words.append(f"{secret.metadata.uid}/{secret.metadata.resource_version}")
    return digits(" ".join(words), 12)
