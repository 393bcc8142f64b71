"""Static pods: the agent holds them to the rules of every pod (G10)."""

import pytest

from mesh.errors import Invalid
from mesh.model import manifest
from mesh.model.pods import is_mirror
from mesh.model.staticpods import static_pod
from mesh.v1.core_pb2 import Pod


def read(text: str) -> Pod:
    (pod,) = manifest.load(text, "a.yaml").objects
    assert isinstance(pod, Pod)
    return pod


TEXT = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: a, image: b}]}}"


def test_it_is_named_after_its_host_and_complete() -> None:
    given = read(TEXT)
    pod = static_pod(given, "n1")
    assert given == read(TEXT)
    assert (pod.metadata.name, pod.metadata.namespace, pod.spec.node_name) == ("web-n1", "default", "n1")
    assert pod.spec.restart_policy == "Always"
    assert is_mirror(pod)
    assert static_pod(given, "n1") == pod


def test_its_uid_follows_content_and_host() -> None:
    uids = {
        static_pod(read(text), node).metadata.uid
        for text, node in ((TEXT, "n1"), (TEXT, "n2"), (TEXT.replace("image: b", "image: c"), "n1"))
    }
    assert len(uids) == 3
    assert all(len(uid) == 36 for uid in uids)


def test_it_may_show_its_own_fields_in_volumes() -> None:
    volumes = "volumes: [{name: v, downwardAPI: {items: []}}, {name: w, projected: {sources: [{downwardAPI: {}}]}}], "
    assert len(static_pod(read(TEXT.replace("containers:", f"{volumes}containers:")), "n1").spec.volumes) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("containers:", "volumes: [{name: v, secret: {secretName: s}}], containers:"), "spec.volumes[0]"),
        (("containers:", "volumes: [{name: v, configMap: {name: c}}], containers:"), "spec.volumes[0]"),
        (
            ("containers:", "volumes: [{name: v, projected: {sources: [{configMap: {name: c}}]}}], containers:"),
            "spec.volumes[0]",
        ),
        (("image: b", "image: b, envFrom: [{configMapRef: {name: c}}]"), "spec.containers[0].envFrom"),
        (("containers:", "imagePullSecrets: [{name: s}], containers:"), "spec.imagePullSecrets"),
        (("image: b", "image: ''"), "spec.containers[0].image: is required"),
        (("containers:", "nodeName: other, containers:"), "spec.nodeName"),
        (("name: web", "generateName: web-"), "metadata.name: is required"),
    ],
)
def test_what_is_refused(change: tuple[str, str], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        static_pod(read(TEXT.replace(*change)), "n1")
    assert words in str(caught.value)
