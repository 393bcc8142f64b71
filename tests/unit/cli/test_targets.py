"""Which objects a command line names."""

import pytest

from mesh.cli.targets import parse, ref
from mesh.errors import Invalid, NotFound
from mesh.model.kinds import kind_named

ALL = ("Pod", "ReplicationController", "ReplicaSet", "Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob",
       "Service", "HorizontalPodAutoscaler")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["po"], [("Pod", ())]),
        (["Pods"], [("Pod", ())]),
        (["po,no"], [("Pod", ()), ("Node", ())]),
        (["po,pods"], [("Pod", ())]),
        (["pod", "a", "b"], [("Pod", ("a", "b"))]),
        (["po,cm", "a"], [("Pod", ("a",)), ("ConfigMap", ("a",))]),
        (["pod/a", "po/b", "no/c"], [("Pod", ("a", "b")), ("Node", ("c",))]),
        (["deployments.apps/a"], [("Deployment", ("a",))]),
        (["deploy.apps"], [("Deployment", ())]),
        (["all"], [(name, ()) for name in ALL]),
    ],
)
def test_words_name_objects(words: list[str], expected: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [(t.kind.name, t.names) for t in parse(words)] == expected


@pytest.mark.parametrize("words", [[], [","], ["pod/a", "b"], ["pod", "a/b"], ["pod/"], ["/a"], ["a/b/c"]])
def test_what_names_nothing_is_refused(words: list[str]) -> None:
    with pytest.raises((Invalid, NotFound)):
        parse(words)


def test_references_are_kubectls() -> None:
    assert ref(kind_named("Pod"), "web") == "pod/web"
    assert ref(kind_named("Deployment"), "web") == "deployment.apps/web"
    assert ref(kind_named("Ingress"), "web") == "ingress.networking.k8s.io/web"
