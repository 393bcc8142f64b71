"""One look at an autoscaler: replicas, conditions, events (C16); and what it never does."""

import os
import random

import pytest

from mesh.model.conditions import find
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.times import SECOND, to_timestamp
from mesh.scaling.behavior import Memory
from mesh.scaling.look import look
from mesh.scaling.readings import Readings
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import Pod
from mesh.v1.policy_pb2 import HorizontalPodAutoscaler
from tests.harness.workshop import World

NANO = 10**9
KEY = Key("HorizontalPodAutoscaler", "default", "web")
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "example:1", resources: {requests: {cpu: 100m, memory: 100Mi}}}]}
"""
HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 10
  metrics: [METRIC]
  behavior: {BEHAVIOR}
"""
CPU = "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}"
MEMORY = "{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 64Mi}}}"
ONE = "{type: ContainerResource, containerResource: {name: cpu, container: main, target: {type: Utilization, " \
      "averageUtilization: 50}}}"  # fmt: skip
DEPTH = "{type: Pods, pods: {metric: {name: depth}, target: {type: AverageValue, averageValue: 10}}}"
QUEUE = "{type: External, external: {metric: {name: queue, selector: {matchLabels: {q: in}}}, target: {type: " \
        "AverageValue, averageValue: 30}}}"  # fmt: skip
HITS = "{type: Object, object: {metric: {name: hits}, describedObject: {kind: Service, name: web}, target: {type: " \
       "Value, value: 100}}}"  # fmt: skip


class Scaled:
    """A Deployment, its pods, its autoscaler, and looks at it."""

    def __init__(self, replicas: int = 2, metric: str = CPU, behavior: str = "", seed: int = 0) -> None:
        self.world = World(seed=seed)
        self.world.apply(WEB.replace("REPLICAS", str(replicas)))
        self.world.apply(HPA.replace("METRIC", metric).replace("BEHAVIOR", behavior))
        self.memory = Memory()
        self.grow()

    def grow(self) -> None:
        """Everything asked for is there, and has been for a minute."""
        self.world.obey()
        for pod in self.pods:
            if not pod.status.HasField("start_time"):
                begun = copy_of(pod)
                begun.status.start_time.CopyFrom(to_timestamp(self.world.now))
                self.world.put(begun)
        self.world.pass_time(60)
        self.world.obey()

    @property
    def pods(self) -> list[Pod]:
        return self.world.pods()

    @property
    def replicas(self) -> int:
        held = self.world.get("Deployment", "web")
        assert isinstance(held, Deployment)
        return held.spec.replicas

    @property
    def held(self) -> HorizontalPodAutoscaler:
        held = self.world.get("HorizontalPodAutoscaler", "web")
        assert isinstance(held, HorizontalPodAutoscaler)
        return held

    def usage(self, millis: int, mebibytes: int = 1) -> Readings:
        used = {"main": {"cpu": millis * 10**6, "memory": (mebibytes << 20) * NANO}}
        return Readings({p.metadata.uid: used for p in self.pods})

    def told(self, name: str, *values: float, **labels: str) -> Readings:
        of = frozenset(labels.items())
        return Readings(metrics={
            ("default", p.metadata.name): {("default", name, of): round(v * NANO)}
            for p, v in zip(self.pods, values, strict=False)
        })  # fmt: skip

    def look(self, readings: Readings) -> int:
        """The replicas wanted after a look."""
        looked = look(KEY, self.world.view, readings, self.memory, self.world.now)
        self.memory = looked.memory
        for write in looked.writes:
            self.world.put(write.object, write.key)
        return self.replicas

    def condition(self, type_: str) -> tuple[str, str]:
        found = find(self.held.status.conditions, type_)
        return (found.status, found.reason) if found else ("", "")


def test_cpu_beyond_the_target_makes_more_pods() -> None:
    it = Scaled(replicas=2)
    assert it.look(it.usage(100)) == 4  # 100 % of the request where 50 % is wanted
    status = it.held.status
    assert (status.current_replicas, status.desired_replicas, status.observed_generation) == (2, 4, 1)
    assert status.current_metrics[0].resource.current.average_utilization == 100
    assert status.current_metrics[0].resource.current.average_value == "100m"
    assert it.condition("AbleToScale") == ("True", "SucceededRescale")
    assert it.condition("ScalingActive") == ("True", "ValidMetricFound")
    assert it.condition("ScalingLimited") == ("False", "DesiredWithinRange")
    (event,) = [e for e in it.world.view.of_kind("Event") if e.involved_object.name == "web"
                and e.involved_object.kind == "HorizontalPodAutoscaler"]  # fmt: skip
    assert (event.reason, event.message) == (
        "SuccessfulRescale",
        "New size: 4; reason: cpu resource utilization (percentage of request) above target",
    )


def test_idle_pods_go_after_five_minutes() -> None:
    it = Scaled(replicas=4)
    assert it.look(it.usage(10)) == 4
    assert it.condition("AbleToScale") == ("True", "ScaleDownStabilized")
    it.world.pass_time(299)
    assert it.look(it.usage(10)) == 4
    it.world.pass_time(1)
    assert it.look(it.usage(10)) == 1


@pytest.mark.parametrize(
    ("metric", "readings", "expected"),
    [
        (MEMORY, lambda it: it.usage(1, 128), 4),
        (MEMORY, lambda it: it.usage(1, 64), 2),
        (ONE, lambda it: it.usage(75), 3),
        (DEPTH, lambda it: it.told("depth", 20, 40), 6),
        (QUEUE, lambda it: it.told("queue", 100, 20, q="in"), 4),
        (QUEUE, lambda it: it.told("queue", 31, 31, q="in"), 2),  # 62 of 60: tolerated
        (f"{CPU}, {DEPTH}", lambda it: Readings(it.usage(75).usage, it.told("depth", 19, 19).metrics), 4),
    ],
)
def test_metrics(metric: str, readings: object, expected: int) -> None:
    it = Scaled(replicas=2, metric=metric)
    assert it.look(readings(it)) == expected  # type: ignore[operator]


def test_a_metric_of_a_service_is_that_of_its_pods() -> None:
    it = Scaled(replicas=2, metric=HITS)
    it.world.apply("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, "
                   "ports: [{port: 80}]}}")  # fmt: skip
    assert it.look(it.told("hits", 120, 80)) == 4
    assert it.held.status.current_metrics[0].object.current.value == "200"


def test_bounds_come_before_figures() -> None:
    it = Scaled(replicas=12)
    assert it.look(Readings()) == 10
    few = Scaled(replicas=2)
    held = copy_of(few.held)
    held.spec.min_replicas = 3
    few.world.put(held)
    assert few.look(Readings()) == 3


def test_without_figures_nothing_changes_and_it_is_told() -> None:
    it = Scaled(replicas=4)
    assert it.look(Readings(silent=('the host "a" cannot be reached',))) == 4
    assert it.condition("ScalingActive") == ("False", "FailedGetResourceMetric")
    assert 'the host "a" cannot be reached' in find(it.held.status.conditions, "ScalingActive").message
    assert "FailedGetResourceMetric" in it.world.events("HorizontalPodAutoscaler")


def test_one_unknown_metric_of_two_prevents_fewer_and_allows_more() -> None:
    it = Scaled(replicas=4, metric=f"{CPU}, {DEPTH}", behavior="scaleDown: {stabilizationWindowSeconds: 0}")
    assert it.look(it.usage(5)) == 4
    assert it.condition("ScalingActive") == ("False", "FailedGetPodsMetric")
    assert it.look(it.usage(100)) == 8


def test_pods_without_requests_have_no_share() -> None:
    it = Scaled(replicas=2)
    for pod in it.pods:
        bare = copy_of(pod)
        bare.spec.containers[0].resources.requests.clear()
        it.world.put(bare)
    assert it.look(it.usage(500)) == 2
    assert "missing request for cpu in container main" in find(it.held.status.conditions, "ScalingActive").message


def test_a_target_at_zero_is_left_alone() -> None:
    it = Scaled(replicas=0)
    assert it.look(it.usage(100)) == 0
    assert it.condition("ScalingActive") == ("False", "ScalingDisabled")


def test_a_target_that_is_not_there_and_one_that_two_scale() -> None:
    it = Scaled(replicas=2)
    it.world.apply(HPA.replace("METRIC", CPU).replace("BEHAVIOR", "").replace("{name: web}\nspec", "{name: b}\nspec"))
    assert it.look(it.usage(100)) == 2
    assert it.condition("ScalingActive") == ("False", "AmbiguousSelector")
    it.world.delete(it.world.get("Deployment", "web"))
    look_again = look(KEY, it.world.view, Readings(), it.memory, it.world.now)
    (told,) = [w.object for w in look_again.writes if isinstance(w.object, HorizontalPodAutoscaler)]
    assert find(told.status.conditions, "AbleToScale").reason == "FailedGetScale"


def test_a_wider_tolerance_is_honoured() -> None:
    it = Scaled(replicas=2, behavior='scaleUp: {tolerance: "0.5"}')
    assert it.look(it.usage(74)) == 2
    assert it.look(it.usage(76)) == 4


@pytest.mark.parametrize("seed", range(int(os.environ.get("MESH_SEEDS") or "12")))
def test_whatever_is_measured_it_keeps_its_promises(seed: int) -> None:
    """Never beyond the bounds, never faster than the policies, never fewer while a figure is not known."""
    rng = random.Random(seed)
    behavior = "scaleUp: {policies: [{type: Pods, value: 2, periodSeconds: 30}]}, scaleDown: " \
               "{stabilizationWindowSeconds: 60, policies: [{type: Pods, value: 1, periodSeconds: 30}]}"  # fmt: skip
    it = Scaled(replicas=rng.randint(1, 10), metric=f"{CPU}, {DEPTH}", behavior=behavior, seed=seed)
    sizes = [(it.world.now, it.replicas)]
    for _ in range(40):
        knows = rng.random() < 0.8
        cpu, depth = it.usage(rng.choice([0, 20, 50, 100, 900])), it.told("depth", *[rng.choice([0, 10, 50])] * 12)
        before = it.replicas
        after = it.look(Readings(cpu.usage, depth.metrics if knows else {}))
        assert 1 <= after <= 10
        assert knows or after >= before, "fewer pods though a figure is not known"
        now = it.world.now
        lately = [n for t, n in sizes if t > now - 30 * SECOND] + [before]
        assert after - min(lately) <= 2, "faster up than the policy allows"
        assert max(lately) - after <= 1, "faster down than the policy allows"
        sizes.append((now, after))
        it.world.obey() if rng.random() < 0.5 else it.world.settle()
        it.world.pass_time(rng.choice([1, 15, 15, 31, 90]))


def test_the_figure_of_an_object_counts_for_pods_that_are_ready() -> None:
    it = Scaled(replicas=4, metric=HITS)
    it.world.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}"
    )
    it.world.ready(it.pods[0], False)
    it.world.settle()
    assert it.look(it.told("hits", 50, 50, 50, 50)) == 6  # twice what is wanted, of the three that are ready
