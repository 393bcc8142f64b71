"""What a wait waits for."""

import pytest

from mesh.errors import Invalid
from mesh.model import manifest
from mesh.model.kinds import Object
from mesh.sdk.wait import goal, parse, state_of


def pod(status: str, meta: str = "") -> Object:
    text = f"{{apiVersion: v1, kind: Pod, metadata: {{name: web{meta}}}, spec: {{}}, status: {{{status}}}}}"
    return manifest.load(text, "test").objects[0]


READY = pod("phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]")
UNREADY = pod("phase: Pending, conditions: [{type: Ready, status: 'False'}]")


@pytest.mark.parametrize(
    ("text", "met_by_ready", "met_by_unready", "met_by_none"),
    [
        ("condition=Ready", True, False, False),
        ("condition=ready", True, False, False),
        ("condition=Ready=False", False, True, False),
        ("condition=Ready=false", False, True, False),
        ("condition=Nope", False, False, False),
        ("delete", False, False, True),
        ("create", True, True, False),
        ("jsonpath={.status.phase}=Running", True, False, False),
        ("jsonpath={.status.phase}='Pending'", False, True, False),
        ("jsonpath={.status.podIP}", True, False, False),
        ('jsonpath={.status.conditions[?(@.type=="Ready")].status}=True', True, False, False),
    ],
)
def test_goals(text: str, met_by_ready: bool, met_by_unready: bool, met_by_none: bool) -> None:
    aim = parse(text)
    assert (aim.met(READY), aim.met(UNREADY), aim.met(None)) == (met_by_ready, met_by_unready, met_by_none)


@pytest.mark.parametrize("text", ["", "luck", "condition=", "jsonpath=", "phase=Running"])
def test_what_can_not_be_waited_for_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="cannot wait for"):
        parse(text)


def test_exactly_one_goal() -> None:
    assert goal(phase="Running").met(READY)
    with pytest.raises(Invalid, match="exactly one"):
        goal()
    with pytest.raises(Invalid, match="exactly one"):
        goal(phase="Running", delete=True)


def test_a_condition_of_an_earlier_generation_does_not_count() -> None:
    status = "conditions: [{type: Ready, status: 'True', observedGeneration: 1}]"
    assert not parse("condition=Ready").met(pod(status, ", generation: 2"))
    assert parse("condition=Ready").met(pod(status, ", generation: 1"))


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (None, "there is none"),
        (READY, "it is Running"),
        (
            pod("containerStatuses: [{name: a, state: {waiting: {reason: ErrImagePull, message: no image}}}]"),
            "it is ErrImagePull (container a: no image)",
        ),
        (
            pod("containerStatuses: [{name: a, state: {waiting: {reason: CrashLoopBackOff}}, "
                "lastState: {terminated: {exitCode: 2, reason: Error}}}]"),
            "it is CrashLoopBackOff (container a: exit code 2 (Error))",
        ),
        (
            pod("phase: Pending, conditions: [{type: PodScheduled, status: 'False', message: 0/1 fit}]"),
            "it is Pending (0/1 fit)",
        ),
    ],
)  # fmt: skip
def test_how_an_object_is_instead(obj: Object | None, text: str) -> None:
    assert state_of(obj) == text
