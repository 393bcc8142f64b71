"""Three hosts, and each program of them killed: nothing that runs notices, everything is back without a hand.

MESH_KILLS=10 kills each ten times over; otherwise each once.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pytest

from tests.e2e.conftest import EXAMPLE, IMAGE
from tests.harness.hosts import PATIENCE, ROOT, FakeHost, until

KILLS = int(os.environ.get("MESH_KILLS") or "1")
SECRET_PODS = int(os.environ.get("MESH_SECRET_PODS") or "9")
PODS = 6
REPOSITORY = Path(__file__).parent.parent.parent

# What is killed: the host, the words of its command lines.
VICTIMS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "actor": (1, ("ray::NodeActor",)),
    "actor on the head": (0, ("ray::NodeActor",)),
    "raylet": (1, ("raylet/raylet",)),
    "Ray's head": (0, ("gcs_server",)),
    "meshd's bridge": (0, ("mesh.fleet.ray",)),
    "meshd": (0, ("mesh.app",)),
    "Podman service": (2, ("system service",)),
    "netproxy": (2, ("-m netproxy",)),
}

pytestmark = pytest.mark.timeout(600 + 200 * KILLS)


def test_pods_survive_the_killing_of_every_program(mesh_of_three: list[FakeHost]) -> None:
    first = mesh_of_three[0]
    first.mesh("apply", "-f", "-", "--wait", "--timeout=90s", text=manifests())
    before = picture(mesh_of_three)
    assert {pod["node"] for pod in before["pods"].values()} == {"host1", "host2", "host3"}
    for _ in range(KILLS):
        for victim, (index, words) in VICTIMS.items():
            host = mesh_of_three[index]
            killed_and_back(host, words)
            converged(mesh_of_three, victim)
            assert picture(mesh_of_three) == before, f"after the kill of {victim}"
        whole_ray_killed_and_back(first)
        converged(mesh_of_three, "the whole of Ray")
        assert picture(mesh_of_three) == before, "after the kill of the whole of Ray"


def test_a_dead_actor_is_answered_for_within_three_seconds(mesh_of_three: list[FakeHost]) -> None:
    first, second, _ = mesh_of_three
    first.mesh("apply", "-f", "-", "--wait", "--timeout=90s", text=pod("there", node=second.name))
    with probe(first, "there") as answers:
        for _ in range(max(KILLS, 3)):
            second.kill("ray::NodeActor")
            assert float(answers.readline()) < 3.0 * PATIENCE


def test_a_host_without_power_comes_back_with_its_pods(mesh_of_three: list[FakeHost]) -> None:
    first, second, _ = mesh_of_three
    first.mesh("apply", "-f", "-", "--wait", "--timeout=90s", text=pod("there", node=second.name))
    second.power_off()
    first.mesh("wait", f"node/{second.name}", "--for=condition=Ready=Unknown", "--timeout=60s")
    second.boot()
    second.up()
    first.mesh("wait", f"node/{second.name}", "--for=condition=Ready", "--timeout=60s")
    until(lambda: exec_works(first, "there"), 60, "the pod runs again")
    statuses = first.mesh_json("get", "pod", "there")["status"]["containerStatuses"]
    assert [c["restartCount"] for c in statuses] == [1, 1]


def test_pods_stay_where_ray_is_away_for_long(mesh_of_three: list[FakeHost]) -> None:
    first, second, _ = mesh_of_three
    first.mesh("apply", "-f", "-", "--wait", "--timeout=90s", text=pod("there", node=second.name))
    before, running = first.mesh_json("get", "pod", "there"), second.containers()
    ray = str(ROOT / "sv" / "mesh-ray")
    second.run("sv", "-w", "30", "down", ray)
    for condition in ("Ready=Unknown", "Reachable"):
        first.mesh("wait", f"node/{second.name}", f"--for=condition={condition}", "--timeout=60s")
    lost = time.time()
    until(lambda: time.time() - lost > 8, 30, "silence lasts longer than pods are left on a host that is lost")
    after = first.mesh_json("get", "pod", "there")
    assert (after["metadata"]["uid"], after["status"]) == (before["metadata"]["uid"], before["status"])
    assert "deletionTimestamp" not in after["metadata"]
    taints = first.mesh_json("get", "node", second.name)["spec"]["taints"]
    assert [t["effect"] for t in taints] == ["NoSchedule"]
    second.run("sv", "up", ray)
    first.mesh("wait", f"node/{second.name}", "--for=condition=Ready", "--timeout=60s")
    assert second.containers() == running
    first.mesh("delete", "pod", "there", "--now")


def test_pods_of_a_dead_host_are_ready_elsewhere_within_ten_seconds(mesh_of_three: list[FakeHost]) -> None:
    first, second, _ = mesh_of_three
    first.mesh("apply", "-f", "-", "--wait", "--timeout=90s", text=workloads(second.name))
    assert {p["spec"]["nodeName"] for p in pods_of(first, "web")} == {h.name for h in mesh_of_three}
    old = {p["metadata"]["uid"] for p in pods_of(first, "web")}
    off = time.time()
    second.power_off()
    until(lambda: len(elsewhere(first, second.name)) == 3, 30, "three pods of web run on the other hosts")
    fresh = [ready_at(p) for p in elsewhere(first, second.name) if p["metadata"]["uid"] not in old]
    took = max(fresh) - off
    print(f"ready elsewhere {took:.1f} s after the power was off")
    assert took < 10 * PATIENCE
    [waits] = pods_of(first, "db")
    assert "deletionTimestamp" in waits["metadata"]  # it may still run there, as far as the mesh knows
    first.mesh("node", "confirm-down", second.name)
    until(lambda: [h for p in pods_of(first, "db") if (h := home(p)) and h != second.name], 30, "db-0 runs elsewhere")
    second.boot()
    second.up()
    first.mesh("wait", f"node/{second.name}", "--for=condition=Ready", "--timeout=60s")
    until(lambda: runs_its_own(first, second), 30, "the host that came back runs its own, and none of what is not")
    assert "taints" not in first.mesh_json("get", "node", second.name)["spec"]
    first.mesh("delete", "deployment/web", "statefulset/db")


def runs_its_own(first: FakeHost, host: FakeHost) -> bool:
    """Whether the host runs the containers of its own pods alone, two of each; other tests leave some there."""
    pods = first.mesh_json("get", "pods")["items"]
    return len(host.containers()) == 2 * sum(p["spec"].get("nodeName") == host.name for p in pods)


def workloads(home_of_db: str) -> str:
    """A Deployment on all hosts and a StatefulSet that would rather be on one; their pods tolerate nothing."""
    text = (EXAMPLE / "pod.yaml").read_text().partition("spec:\n")[2].replace("\n", "\n    ")
    like = (
        "      affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: "
        f"{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{home_of_db}]}}]}}}}]}}}}"
    )
    return "---\n".join(
        f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  replicas: {count}\n"
        f"  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n"
        f"    spec:\n{more}\n    {text}\n"
        for kind, name, count, more in (("Deployment", "web", 3, ""), ("StatefulSet", "db", 1, like))
    )


def pods_of(first: FakeHost, app: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = first.mesh_json("get", "pods", "-l", f"app={app}")["items"]
    return found


def ready_at(pod: dict[str, Any]) -> float:
    """Since when the pod is ready; 0 when it is not."""
    for condition in pod["status"].get("conditions", []):
        if (condition["type"], condition["status"]) == ("Ready", "True"):
            return datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
    return 0.0


def elsewhere(first: FakeHost, lost: str) -> list[dict[str, Any]]:
    return [p for p in pods_of(first, "web") if home(p) not in ("", lost)]


def home(pod: dict[str, Any]) -> str:
    """Where the pod is ready; nowhere when it is asked to go."""
    going = "deletionTimestamp" in pod["metadata"]
    return str(pod["spec"].get("nodeName", "")) if ready_at(pod) and not going else ""


def killed_and_back(host: FakeHost, words: tuple[str, ...]) -> None:
    """kill -9, then waits until the supervisor (or Ray) has started another."""
    killed = set(host.kill(*words))
    until(lambda: set(host.pids(*words)) - killed, 15, f"another process with {words} on {host.name}")


def whole_ray_killed_and_back(host: FakeHost) -> None:
    """Every process of Ray on a host at once."""
    killed = {pid for word in ("ray_watch", "gcs_server", "raylet/raylet", "ray::") for pid in host.pids(word)}
    for pid in killed:
        with suppress(ProcessLookupError):  # died with another of them
            os.kill(pid, signal.SIGKILL)
    until(lambda: set(host.pids("ray::NodeActor")) - killed, 30, f"Ray is back on {host.name}")


def converged(hosts: list[FakeHost], after: str) -> None:
    """Every host is connected and holds its assignment, and a new pod on each runs and goes."""
    first = hosts[0]
    until(lambda: settled(first, len(hosts)), 30, f"the mesh settles after the kill of {after}")
    names = [f"probe-{host.name}" for host in hosts]
    text = "\n---\n".join(pod(name, node=host.name) for name, host in zip(names, hosts, strict=True))
    first.mesh("apply", "-f", "-", "--wait", "--timeout=90s", text=text)
    first.mesh("delete", "pod", *names, "--now", "--timeout=90s")


def settled(first: FakeHost, hosts: int) -> bool:
    """Whether every host answers and holds what it is to hold."""
    answer = first.mesh("status", "-o", "json", check=False)
    if not answer.startswith("{"):
        return False
    states = json.loads(answer).get("hosts", [])
    return len(states) == hosts and all(s.get("connected") and s.get("assignmentHeld") for s in states)


@contextmanager
def probe(first: FakeHost, name: str) -> Iterator[IO[str]]:
    """Runs an answer_probe against a pod; its output, once it has answered."""
    call = first.command(
        "env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tests.harness.answer_probe", name, "web"
    )
    with subprocess.Popen(
        call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=first.environment(), cwd="/"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.stdout
        process.stdin.close()


def exec_works(first: FakeHost, name: str) -> bool:
    return first.mesh("exec", name, "-c", "web", "--", "echo", "there", check=False).strip() == "there"


def picture(hosts: list[FakeHost]) -> dict[str, Any]:
    """What must not change: pods with their containers, and the processes in these, by host."""
    first = hosts[0]
    pods = {item["metadata"]["name"]: of_pod(item) for item in first.mesh_json("get", "pods")["items"]}
    return {"pods": pods, "processes": {host.name: host.containers() for host in hosts}}


def of_pod(item: dict[str, Any]) -> dict[str, Any]:
    status = item["status"]
    return {
        "uid": item["metadata"]["uid"],
        "node": item["spec"]["nodeName"],
        "phase": status["phase"],
        "ip": status["podIP"],
        "conditions": [(c["type"], c["status"], c["lastTransitionTime"]) for c in status["conditions"]],
        "containers": [
            (c["name"], c["containerID"], c["restartCount"], c["state"]["running"]["startedAt"])
            for c in status["containerStatuses"]
        ],
    }


def manifests() -> str:
    return "\n---\n".join(pod(f"hello-{number}") for number in range(PODS))


def pod(name: str, node: str = "") -> str:
    """The example's pod under another name, on a host if one is named; it stays there for as long as a test takes."""
    text = (EXAMPLE / "pod.yaml").read_text().replace("name: hello\n", f"name: {name}\n", 1)
    stays = "{operator: Exists, effect: NoExecute, tolerationSeconds: 3600}"
    text = text.replace("spec:\n", f"spec:\n  tolerations: [{stays}]\n", 1)
    return text.replace("spec:\n", f"spec:\n  nodeName: {node}\n", 1) if node else text


def test_a_rotated_secret_is_in_the_files_of_all_hosts_within_a_second(mesh_of_three: list[FakeHost]) -> None:
    """MESH_SECRET_PODS=50 is the whole of it; a few pods do for every day."""
    first = mesh_of_three[0]
    places = [f"--host={host.name}={host.path(ROOT)}" for host in mesh_of_three]
    context = first.state.parent / "from-outside"
    context.touch(0o600)
    context.write_text(f"""\
current: outside
contexts:
  outside:
    servers: ["{first.ip}:7443"]
    ca: {first.state}/pki/ca.crt
    certificate: {first.state}/pki/admin.crt
    key: {first.state}/pki/admin.key
""")
    done = subprocess.run(
        ["nsenter", "-t", str(first.init), "-n", "--", sys.executable, str(REPOSITORY / "benchmarks" / "rotation.py"),
         "--image", IMAGE, "--pods", str(SECRET_PODS), "--rounds", "10", *places],
        env={**first.environment(), "MESHCONFIG": str(context)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert "no container touched" in done.stdout
    found = re.search(r"median (\d+) ms.*p99 (\d+) ms", done.stdout)
    assert found is not None
    assert int(found[1]) < 1000
    assert int(found[2]) < 1000 * PATIENCE  # one stall of the machine is all that it takes


def test_a_removed_host_is_out_of_ray_and_no_pod_of_others_notices(mesh_of_three: list[FakeHost]) -> None:
    """The last one: the mesh has two hosts after it."""
    first, second, third = mesh_of_three
    first.mesh("apply", "-f", "-", "--wait", "--timeout=90s", text=pod("stays-1", node=first.name))
    first.mesh("apply", "-f", "-", "--wait", "--timeout=90s", text=pod("stays-2", node=second.name))
    before, old = {host.name: host.containers() for host in (first, second)}, ray_token(first)
    first.mesh("node", "remove", third.name, "--lost")
    until(lambda: ray_token(first) != old, 60, "Ray has another token on the first host")
    until(lambda: ray_token(second) == ray_token(first), 10, "and on the second")
    assert ray_token(third) == old
    until(lambda: settled(first, 2), 60, "the two hosts hold what they are to hold")
    first.mesh("apply", "-f", "-", "--wait", "--timeout=60s", text=pod("new-2", node=second.name))
    first.mesh("delete", "pod", "new-2", "--now", "--timeout=90s")
    assert {host.name: host.containers() for host in (first, second)} == before
    assert not any((host.state / "ray" / "token.next").exists() for host in mesh_of_three)


def ray_token(host: FakeHost) -> str:
    return (host.state / "ray" / "token").read_text().strip()
