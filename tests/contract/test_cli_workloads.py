"""Workloads on the command line against a real meshd with hosts that do as they are told: kubectl's verbs and words."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control
from tests.harness.hollow import HollowAgent

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: "localhost/web:1", imagePullPolicy: IfNotPresent}]
"""


@pytest.fixture
async def fleet() -> AsyncIterator[RunningMeshd]:
    async with control(agents={name: HollowAgent(name) for name in ("host1", "host2")}) as running:
        yield running


@pytest.fixture
def mesh(fleet: RunningMeshd, tmp_path: Path) -> Cli:
    return Cli(fleet, tmp_path)


async def rolled_out(mesh: Cli) -> None:
    result = await mesh("rollout", "status", "deployment/web", "--timeout=60s")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith('deployment "web" successfully rolled out\n')


async def test_a_deployment_from_words_to_history_and_back(mesh: Cli) -> None:
    assert (await mesh("apply", "-f", "-", stdin=WEB)).out == "deployment.apps/web created\n"
    await rolled_out(mesh)
    table = (await mesh("get", "deploy")).out.splitlines()
    assert table[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert table[1].split()[:4] == ["web", "3/3", "3", "3"]
    done = await mesh("set", "image", "deployment/web", "app=localhost/web:2")
    assert done.out == "deployment.apps/web image updated\n"
    await rolled_out(mesh)
    await mesh("annotate", "deployment", "web", "kubernetes.io/change-cause=better")
    history = (await mesh("rollout", "history", "deploy/web")).out.splitlines()
    assert [line.split()[0] for line in history] == ["REVISION", "1", "2"]
    assert history[1].endswith("localhost/web:1")
    assert (await mesh("rollout", "undo", "deployment/web")).out == "deployment.apps/web rolled back\n"
    await rolled_out(mesh)
    images = await mesh("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert set(images.out.split()) == {"localhost/web:1"}
    story = (await mesh("describe", "deployment", "web")).out
    for words in (
        "Replicas:",
        "3 desired",
        "RollingUpdate",
        "ScalingReplicaSet",
        "localhost/web:1",
        "NewReplicaSetAvailable",
    ):
        assert words in story


async def test_scale_restart_pause_and_resume(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    await rolled_out(mesh)
    assert (await mesh("scale", "deployment/web", "--replicas=4")).out == "deployment.apps/web scaled\n"
    await rolled_out(mesh)
    assert len((await mesh("get", "pods", "-o", "name")).out.splitlines()) == 4
    wrong = await mesh("scale", "deploy", "web", "--replicas=1", "--current-replicas=9")
    assert wrong.code == 1
    assert "it has 4 replicas, not 9" in wrong.err
    before = set((await mesh("get", "pods", "-o", "name")).out.splitlines())
    await mesh("rollout", "pause", "deploy/web")
    await mesh("rollout", "restart", "deploy/web")
    assert set((await mesh("get", "pods", "-o", "name")).out.splitlines()) == before
    refused = await mesh("rollout", "undo", "deploy/web")
    assert "resume it first" in refused.err
    await mesh("rollout", "resume", "deploy/web")
    await rolled_out(mesh)
    assert not before & set((await mesh("get", "pods", "-l", "app=web", "-o", "name")).out.splitlines())


async def test_a_rollout_that_fails_says_why_and_how(fleet: RunningMeshd, mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    await rolled_out(mesh)
    for number in (1, 2):
        await mesh("cordon", f"host{number}")  # new pods find no place
    await mesh("patch", "deployment", "web", "-p", '{"spec": {"progressDeadlineSeconds": 2}}')
    await mesh("set", "image", "deployment/web", "app=localhost/web:2")
    result = await mesh("rollout", "status", "deployment/web", "--timeout=60s")
    assert result.code == 1
    assert "exceeded its progress deadline" in result.err
    assert "0/2 nodes are available: 2 node(s) were unschedulable." in result.err
    ready = await mesh("get", "deployment", "web", "-o", "jsonpath={.status.availableReplicas}")
    assert ready.out == "3"


async def test_what_holds_a_rollout_up_is_told_while_it_is_followed(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    await rolled_out(mesh)
    for number in (1, 2):
        await mesh("cordon", f"host{number}")  # new pods find no place
    await mesh("set", "image", "deployment/web", "app=localhost/web:2")
    async with mesh.program("rollout", "status", "deployment/web") as program:
        told = await program.line_with("pod/web-")
        assert told.endswith(": 0/2 nodes are available: 2 node(s) were unschedulable.")
        await mesh("uncordon", "host1")
        await program.line_with("successfully rolled out")
        assert await program.end() == (0, "")


async def test_hosts_are_cordoned_tainted_and_drained(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    await rolled_out(mesh)
    await mesh("run", "alone", "--image=localhost/web:1")
    assert (await mesh("taint", "node", "host2", "dedicated=db:NoSchedule")).out == "node/host2 tainted\n"
    assert (await mesh("taint", "node", "host2", "dedicated-")).out == "node/host2 untainted\n"
    where = await mesh("get", "pod", "alone", "-o", "jsonpath={.spec.nodeName}")
    refused = await mesh("drain", where.out)
    assert refused.code == 1
    assert "pod default/alone is of no workload and would not come back (--force deletes it)" in refused.err
    drained = await mesh("drain", where.out, "--force", "--timeout=60s")
    assert drained.out.endswith(f"node/{where.out} drained\n")
    left = await mesh("get", "pods", "-A", "-o", "jsonpath={.items[*].spec.nodeName}")
    assert where.out not in left.out.split()
    assert (await mesh("uncordon", where.out)).out == f"node/{where.out} uncordoned\n"
    assert (await mesh("uncordon", where.out)).out == f"node/{where.out} already uncordoned\n"


async def test_words_on_objects(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    assert (await mesh("label", "deploy", "web", "tier=front")).out == "deployment.apps/web labeled\n"
    refused = await mesh("label", "deploy", "web", "tier=back")
    assert (refused.code, "--overwrite changes it" in refused.err) == (1, True)
    await mesh("label", "deploy", "web", "tier=back", "--overwrite")
    assert (await mesh("get", "deploy", "-l", "tier=back", "-o", "name")).out == "deployment.apps/web\n"
    await mesh("label", "deploy", "web", "tier-")
    assert (await mesh("get", "deploy", "-l", "tier", "-o", "name")).out == ""
    patched = await mesh("patch", "deploy", "web", "-p", '{"spec":{"replicas":5}}')
    assert patched.out == "deployment.apps/web patched\n"
    bad = await mesh("patch", "deploy", "web", "-p", '{"spec":{"replicass":5}}')
    assert (bad.code, "spec.replicass" in bad.err) == (1, True)


async def test_a_pods_gate_is_passed_by_a_patch_of_its_status(mesh: Cli) -> None:  # P22
    gated = (
        "{apiVersion: v1, kind: Pod, metadata: {name: gated}, spec: "
        "{readinessGates: [{conditionType: example.com/gate}], containers: [{name: a, image: i}]}}"
    )
    await mesh("apply", "-f", "-", stdin=gated)
    gate = 'status: {conditions: [{type: example.com/gate, status: "True"}]}'
    patched = await mesh("patch", "pod", "gated", "--subresource=status", "-p", gate)
    assert patched.out == "pod/gated patched\n"
    again = await mesh("patch", "pod", "gated", "--subresource=status", "-p", gate)
    assert again.out == "pod/gated patched (no change)\n"
    other = await mesh("patch", "pod", "gated", "--subresource=status", "-p", gate.replace("example.com/gate", "Ready"))
    assert "status.conditions[0].type" in other.err


async def test_diff_says_what_apply_would_change(mesh: Cli) -> None:
    new = await mesh("diff", "-f", "-", stdin=WEB)
    assert (new.code, new.out) == (1, "deployment.apps/web would be created\n")
    await mesh("apply", "-f", "-", stdin=WEB)
    same = await mesh("diff", "-f", "-", stdin=WEB)
    assert (same.code, same.out) == (0, "")
    changed = await mesh("diff", "-f", "-", stdin=WEB.replace("web:1", "web:2"))
    assert changed.code == 1
    assert "localhost/web:1 -> localhost/web:2" in changed.out


async def test_an_editor_changes_an_object_and_mistakes_come_back(
    mesh: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    tries = tmp_path / "tries"
    editor = tmp_path / "editor.sh"
    editor.write_text(
        f'#!/bin/sh\nif [ ! -e {tries} ]; then touch {tries}; sed -i "s/replicas: 3/replicas: -1/" "$1"\n'
        'else grep -q "must be at least 0" "$1" && sed -i "s/replicas: -1/replicas: 2/" "$1"; fi\n'
    )
    editor.chmod(0o755)
    monkeypatch.setenv("MESH_EDITOR", str(editor))
    result = await mesh("edit", "deployment/web")
    assert result.out == "deployment.apps/web edited\n"
    assert (await mesh("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")).out == "2"
    monkeypatch.setenv("MESH_EDITOR", "false")
    failed = await mesh("edit", "deployment/web")
    assert (failed.code, failed.err) == (1, 'error: the editor "false" ended with an error, so nothing is changed\n')


async def test_workloads_from_words(mesh: Cli) -> None:
    made = await mesh("create", "deployment", "shop", "--image=localhost/shop:1", "--replicas=2", "--port=80")
    assert made.out == "deployment.apps/shop created\n"
    await mesh("create", "cronjob", "tick", "--image=localhost/b:1", "--schedule=*/5 * * * *", "--", "date", "-u")
    assert (await mesh("create", "job", "now", "--from=cronjob/tick")).out == "job.batch/now created\n"
    command = await mesh("get", "job", "now", "-o", "jsonpath={.spec.template.spec.containers[0].command[*]}")
    assert command.out == "date -u"
    wrong = await mesh("create", "cronjob", "bad", "--image=localhost/b:1", "--schedule=often")
    assert (wrong.code, "spec.schedule" in wrong.err) == (1, True)
    everything = (await mesh("get", "all", "-o", "name")).out
    for name in ("deployment.apps/shop", "job.batch/now", "cronjob.batch/tick"):
        assert name in everything
    jobs = (await mesh("get", "jobs")).out.splitlines()
    assert jobs[0].split()[:3] == ["NAME", "STATUS", "COMPLETIONS"]


async def test_deleting_a_deployment_leaves_nothing_or_what_was_asked_for(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    await rolled_out(mesh)
    gone = await mesh("delete", "deployment", "web", "--cascade=foreground", "--timeout=60s")
    assert (gone.code, gone.out) == (0, 'deployment.apps "web" deleted\n')
    assert (await mesh("get", "rs,pods", "-o", "name")).out == ""
    await mesh("apply", "-f", "-", stdin=WEB)
    await rolled_out(mesh)
    await mesh("delete", "deployment", "web", "--cascade=orphan", "--timeout=60s")
    assert len((await mesh("get", "pods", "-o", "name")).out.splitlines()) == 3


async def test_patches_as_kubectl_writes_them(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    by_name = '{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"localhost/web:2"}]}}}}'
    assert (await mesh("patch", "deploy", "web", "-p", by_name)).out == "deployment.apps/web patched\n"
    template = "{.spec.template.spec.containers[0]['image','imagePullPolicy']}"
    assert (await mesh("get", "deploy", "web", "-o", f"jsonpath={template}")).out == "localhost/web:2 IfNotPresent"
    await rolled_out(mesh)
    assert (await mesh("patch", "deploy", "web", "-p", by_name)).out == "deployment.apps/web patched (no change)\n"
    operations = '[{"op":"test","path":"/spec/replicas","value":3},{"op":"replace","path":"/spec/replicas","value":4}]'
    assert (await mesh("patch", "deploy", "web", "--type=json", "-p", operations)).code == 0
    again = await mesh("patch", "deploy", "web", "--type=json", "-p", operations)
    assert (again.code, "does not hold" in again.err) == (1, True)
    whole = await mesh("patch", "deploy", "web", "--type=merge", "-p", by_name.replace('"name":"app",', ""))
    assert (whole.code, "containers[0].name" in whole.err) == (1, True)
    old = '{"metadata":{"resourceVersion":"1"},"spec":{"replicas":9}}'  # who names a version means that one alone (A8)
    refused = await mesh("patch", "deploy", "web", "-p", old)
    assert (refused.code, "not 1" in refused.err) == (1, True)
    assert (await mesh("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")).out == "4"


async def test_rollouts_of_every_deployment(mesh: Cli) -> None:
    for name in ("web", "db"):
        await mesh("apply", "-f", "-", stdin=WEB.replace("name: web,", f"name: {name},"))
    told = await mesh("rollout", "status", "deployment", "--timeout=60s")
    assert told.code == 0, told
    assert [line.split('"')[1] for line in told.out.splitlines() if "successfully" in line] == ["db", "web"]
    assert (
        await mesh("rollout", "restart", "deploy")
    ).out == "deployment.apps/db restarted\ndeployment.apps/web restarted\n"
    assert (await mesh("rollout", "pause", "web")).out == "deployment.apps/web paused\n"
    one = await mesh("rollout", "history", "deployment")
    assert (one.code, "say one of db, web" in one.err) == (1, True)
    assert "there is no sts" in (await mesh("rollout", "restart", "sts")).err


async def test_environment_is_shown(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    await mesh("set", "env", "deployment/web", "COLOR=blue", "SIZE=9")
    shown = await mesh("set", "env", "deployment/web", "--list")
    assert shown.out == "# Deployment web, container app\nCOLOR=blue\nSIZE=9\n"


async def test_columns_of_ones_own(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    asked = "NAME:.metadata.name,IMAGES:.spec.template.spec.containers[*].image,NODE:{.spec.nodeName}"
    shown = await mesh("get", "deploy", "-o", f"custom-columns={asked}")
    assert [line.split() for line in shown.out.splitlines()] == [
        ["NAME", "IMAGES", "NODE"],
        ["web", "localhost/web:1", "<none>"],
    ]
    wrong = await mesh("get", "deploy", "-o", "custom-columns=NAME")
    assert (wrong.code, "TITLE:PATH" in wrong.err) == (1, True)
