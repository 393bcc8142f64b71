"""What a new pod is given by its service account (E14)."""

from collections.abc import Callable

import pytest

from mesh.admission import admit
from mesh.admission.accounts import PATH
from mesh.admission.admit import Stamp
from mesh.errors import Invalid
from mesh.model.kinds import Object, key_of
from mesh.store.port import Event
from mesh.v1.core_pb2 import Pod
from mesh.view import View

Read = Callable[[str], Object]
POD = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {SPEC containers: [{name: c, image: 'a:1'}]}}"
ACCOUNT = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: default, ANNOTATIONS}, MORE}"
STRICT = 'annotations: {kubernetes.io/enforce-mountable-secrets: "true"}'


def having(view: View, *objs: Object) -> View:
    staged = view.copy()
    for obj in objs:
        staged.apply([Event(view.revision, key_of(obj), obj, None)])
    return staged


def made(view: View, stamp: Stamp, read: Read, spec: str = "", text: str = POD) -> Pod:
    pod = admit.create(read(text.replace("SPEC", spec)), view, stamp).object
    assert isinstance(pod, Pod)
    return pod


def an_account(read: Read, more: str = "secrets: []", annotations: str = "labels: {}") -> Object:
    return read(ACCOUNT.replace("MORE", more).replace("ANNOTATIONS", annotations))


def test_every_pod_has_an_account_and_its_token(view: View, stamp: Stamp, read: Read) -> None:
    pod = made(view, stamp, read)
    assert (pod.spec.service_account_name, pod.spec.service_account) == ("default", "default")
    (volume,) = pod.spec.volumes
    token, roots, names = volume.projected.sources
    assert (token.service_account_token.expiration_seconds, token.service_account_token.path) == (3607, "token")
    assert roots.config_map.name == "kube-root-ca.crt"
    assert [i.path for i in names.downward_api.items] == ["namespace"]
    (mount,) = pod.spec.containers[0].volume_mounts
    assert (mount.mount_path, mount.read_only, mount.name) == (PATH, True, volume.name)
    again = admit.update(pod, pod, view, stamp).object
    assert again is pod


def test_the_old_name_of_the_field_counts_and_two_names_are_refused(view: View, stamp: Stamp, read: Read) -> None:
    there = having(view, an_account(read))
    for spec in ("serviceAccount: robot,", "serviceAccountName: robot,"):
        pod = made(there, stamp, read, spec)
        assert (pod.spec.service_account_name, pod.spec.service_account) == ("robot", "robot")
    with pytest.raises(Invalid, match=r"spec\.serviceAccount"):
        made(there, stamp, read, "serviceAccount: a, serviceAccountName: b,")


def test_an_account_that_is_not_there_is_asked_for(view: View, stamp: Stamp, read: Read) -> None:
    with pytest.raises(Invalid, match=r'no service account "robot" in namespace "default".*create serviceaccount'):
        made(view, stamp, read, "serviceAccountName: robot,")


@pytest.mark.parametrize(
    ("account", "pod", "mounted"),
    [
        ("secrets: []", "", True),
        ("automountServiceAccountToken: false", "", False),
        ("automountServiceAccountToken: false", "automountServiceAccountToken: true,", True),
        ("automountServiceAccountToken: true", "automountServiceAccountToken: false,", False),
    ],
)
def test_the_pods_word_counts_before_the_accounts(
    view: View, stamp: Stamp, read: Read, account: str, pod: str, mounted: bool
) -> None:
    there = having(view, an_account(read, account))
    got = made(there, stamp, read, f"serviceAccountName: robot, {pod}")
    assert bool(got.spec.volumes) is mounted
    assert bool(got.spec.containers[0].volume_mounts) is mounted


def test_who_mounts_something_there_is_left_alone(view: View, stamp: Stamp, read: Read) -> None:
    text = (
        "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {volumes: [{name: v, emptyDir: {}}], "
        f"initContainers: [{{name: i, image: 'a:1'}}], containers: [{{name: c, image: 'a:1', "
        f"volumeMounts: [{{name: v, mountPath: {PATH}/}}]}}]}}}}"
    )
    pod = made(view, stamp, read, text=text)
    assert [m.name for m in pod.spec.containers[0].volume_mounts] == ["v"]
    assert [m.mount_path for m in pod.spec.init_containers[0].volume_mounts] == [PATH]


def test_pull_secrets_come_from_the_account_unless_the_pod_says_some(view: View, stamp: Stamp, read: Read) -> None:
    there = having(view, an_account(read, "imagePullSecrets: [{name: hub}]"))
    pod = made(there, stamp, read, "serviceAccountName: robot,")
    assert [s.name for s in pod.spec.image_pull_secrets] == ["hub"]
    pod = made(there, stamp, read, "serviceAccountName: robot, imagePullSecrets: [{name: own}],")
    assert [s.name for s in pod.spec.image_pull_secrets] == ["own"]


def test_an_account_may_name_the_only_secrets_that_its_pods_use(view: View, stamp: Stamp, read: Read) -> None:
    there = having(view, an_account(read, "secrets: [{name: mine}]", STRICT))
    volume = "serviceAccountName: robot, volumes: [{name: v, secret: {secretName: NAME}}],"
    assert made(there, stamp, read, volume.replace("NAME", "mine"))
    with pytest.raises(Invalid, match='uses the Secret "foreign"'):
        made(there, stamp, read, volume.replace("NAME", "foreign"))


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ("{serviceAccountToken: {audience: a}}", "serviceAccountToken.path"),
        ("{serviceAccountToken: {path: ../a}}", "serviceAccountToken.path"),
        ("{serviceAccountToken: {path: a, expirationSeconds: 599}}", "serviceAccountToken.expirationSeconds"),
        ("{serviceAccountToken: {path: a}}, {serviceAccountToken: {path: a}}", "serviceAccountToken.path"),
    ],
)
def test_what_a_token_of_ones_own_may_ask_for(view: View, stamp: Stamp, read: Read, source: str, field: str) -> None:
    with pytest.raises(Invalid, match=rf"sources\[[01]\]\.{field}"):
        made(view, stamp, read, f"volumes: [{{name: t, projected: {{sources: [{source}]}}}}],")
