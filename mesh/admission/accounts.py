"""The service account of a pod that is made: which it is, what it gives the pod, the volume with its token (E14).

Rule: pure. The account `default` counts as there even before it is: every namespace is given one.
"""

from collections.abc import Iterator

from mesh.errors import Violation
from mesh.model.keys import Key
from mesh.model.pods import containers, is_mirror
from mesh.model.podtokens import DEFAULT_ACCOUNT, ROOTS
from mesh.model.references import secrets_of
from mesh.model.workloads import digits
from mesh.v1.core_pb2 import Pod, ProjectedVolumeSource, ServiceAccount, Volume, VolumeMount
from mesh.view import View

PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ONLY_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_LIFE = 3607  # seconds; Kubernetes' own, by which one knows a token that nobody has asked for
_MODE = 0o644
_NAMESPACE_FIELD = "metadata.namespace"


def resolve(pod: Pod, view: View, uid: str) -> Iterator[Violation]:
    """Gives the pod its account, and what comes with it, in place."""
    spec = pod.spec
    if spec.service_account and spec.service_account_name and spec.service_account != spec.service_account_name:
        yield Violation("spec.serviceAccount", "is another one than serviceAccountName, whose old name it is")
        return
    name = spec.service_account_name or spec.service_account or DEFAULT_ACCOUNT
    spec.service_account_name = spec.service_account = name
    namespace = pod.metadata.namespace
    found = view.get(Key("ServiceAccount", namespace, name))
    held = found if isinstance(found, ServiceAccount) else ServiceAccount()
    if found is None and name != DEFAULT_ACCOUNT:
        why = f'there is no service account "{name}" in namespace "{namespace}"; `mesh create serviceaccount {name}`'
        yield Violation("spec.serviceAccountName", f"{why} makes it")
        return
    if not spec.image_pull_secrets:
        spec.image_pull_secrets.extend(held.image_pull_secrets)
    if held.metadata.annotations.get(ONLY_MOUNTABLE) == "true":
        yield from _check_mountable(pod, held)
    if not is_mirror(pod) and _automounts(pod, held):
        _mount(pod, uid)


def _automounts(pod: Pod, held: ServiceAccount) -> bool:
    """The pod's word counts before the account's."""
    if pod.spec.HasField("automount_service_account_token"):
        return pod.spec.automount_service_account_token
    return held.automount_service_account_token or not held.HasField("automount_service_account_token")


def _check_mountable(pod: Pod, held: ServiceAccount) -> Iterator[Violation]:
    known = {s.name for s in held.secrets} | {s.name for s in held.image_pull_secrets}
    for name in sorted(secrets_of(pod.spec) - known):
        why = f'uses the Secret "{name}", which is none of the secrets of service account "{held.metadata.name}"'
        yield Violation("spec", f"{why}, and that allows no others")


def _mount(pod: Pod, uid: str) -> None:
    without = [c for c in containers(pod.spec) if all(m.mount_path.rstrip("/") != PATH for m in c.volume_mounts)]
    if not without:
        return
    name = f"kube-api-access-{digits(uid, 5)}"
    for container in without:
        container.volume_mounts.append(VolumeMount(name=name, read_only=True, mount_path=PATH))
    source = ProjectedVolumeSource(default_mode=_MODE)
    token = source.sources.add().service_account_token
    token.expiration_seconds, token.path = _LIFE, "token"
    roots = source.sources.add().config_map
    roots.name = ROOTS
    roots.items.add(key="ca.crt", path="ca.crt")
    item = source.sources.add().downward_api.items.add(path="namespace")
    item.field_ref.api_version, item.field_ref.field_path = "v1", _NAMESPACE_FIELD
    pod.spec.volumes.append(Volume(name=name, projected=source))
