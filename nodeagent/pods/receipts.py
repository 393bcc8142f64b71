"""Receipts: which revision of which Secret is in a pod's files and in its containers' environment, and since when.

Rule: pure. A volume holds a revision once it shows what that revision amounts to; an environment holds the one that its
container was made with.
"""

from collections.abc import Mapping, Sequence

from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import SecretReceipt
from nodeagent.runtime.seen import SeenPod, State
from nodeagent.secrets import Held, Refs
from nodeagent.volumes.files import secrets_in


def receipts(  # noqa: PLR0913 - each is one thing they rest on
    pod: Pod, seen: SeenPod | None, refs: Refs, wanted: Mapping[str, str], shown: Mapping[str, str], *,
    before: Sequence[SecretReceipt], now: int,
) -> list[SecretReceipt]:  # fmt: skip
    """All of a pod, by place and name. `wanted` and `shown`: revisions of the content of volumes, by name."""
    known = {(r.where, r.name): r for r in before}
    found = []
    for volume in pod.spec.volumes:
        where = f"volume {volume.name}"
        for name in sorted(secrets_in(volume)):
            ref, old = refs.get(name), known.get((where, name))
            current = bool(wanted.get(volume.name)) and wanted.get(volume.name) == shown.get(volume.name)
            if isinstance(ref, Held) and current:
                same = old is not None and (old.uid, old.revision) == (ref.uid, ref.revision)
                at = old.at_unix_nanos if old is not None and same else now
                found.append(
                    SecretReceipt(name=name, uid=ref.uid, revision=ref.revision, where=where, at_unix_nanos=at)
                )
            elif old is not None:
                found.append(old)
    for container in seen.containers if seen else ():
        if container.state is State.RUNNING:
            where, at = f"environment of {container.name}", container.started_at
            found += [
                SecretReceipt(name=name, revision=revision, where=where, at_unix_nanos=at)
                for name, revision in sorted(container.secrets.items())
            ]
    return found
