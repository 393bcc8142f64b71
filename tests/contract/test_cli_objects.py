"""`mesh` against a real meshd: objects are applied, shown, deleted, with kubectl's words and exit codes."""

import json
from pathlib import Path

import pytest
import yaml

from mesh.model import manifest
from mesh.v1.core_pb2 import Pod
from tests.harness.cli import Cli
from tests.harness.scripted_host import ScriptedHost

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: app
    image: hello:1
"""
SETTINGS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue}
"""


def named(name: str) -> str:
    return POD.replace("name: web", f"name: {name}", 1)


async def test_apply_says_what_it_did(cli: Cli) -> None:
    assert (await cli("apply", "-f", "-", stdin=POD)).out == "pod/web created\n"
    assert (await cli("apply", "-f", "-", stdin=POD)).out == "pod/web unchanged\n"
    labelled = POD.replace("{app: web}", "{app: web, tier: front}")
    assert (await cli("apply", "-f", "-", stdin=labelled)).out == "pod/web configured\n"


async def test_dry_run_says_what_would_change_and_changes_nothing(cli: Cli) -> None:
    await cli("apply", "-f", "-", stdin=POD)
    dry = await cli("apply", "-f", "-", "--dry-run=server", stdin=POD.replace("hello:1", "hello:2"))
    assert dry.out == "pod/web configured (server dry run)\n  ~ spec.containers[app].image: hello:1 -> hello:2\n"
    image = await cli("get", "pod", "web", "-o", "jsonpath={.spec.containers[0].image}")
    assert image.out == "hello:1"
    new = await cli("apply", "-f", "-", "--dry-run=server", stdin=named("new"))
    assert new.out == "pod/new created (server dry run)\n"
    assert (await cli("get", "pod", "new")).code == 1


async def test_apply_reads_directories_and_with_r_what_is_below(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.yaml").write_text(POD)
    (folder / "notes.txt").write_text("no manifest")
    (folder / "deep" / "b.json").write_text(json.dumps(yaml.safe_load(SETTINGS)))
    assert (await cli("apply", "-f", str(folder))).out == "pod/web created\n"
    assert (await cli("apply", "-R", "-f", str(folder))).out == "pod/web unchanged\nconfigmap/settings created\n"


async def test_a_mistake_in_one_file_and_nothing_of_any_file_is_applied(cli: Cli, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(SETTINGS)
    bad.write_text(POD.replace("image:", "imagee:") + "---\n" + POD.replace("Pod", "Pot"))
    result = await cli("apply", "-f", str(good), "-f", str(bad))
    assert result.code == 1
    assert f"{bad}, document 1: spec.containers[0].imagee" in result.err
    assert f"{bad}, document 2: kind" in result.err
    assert (await cli("get", "cm,pods")).err == "No resources found in default namespace.\n"


async def test_a_namespace_and_what_lies_in_it_come_together(cli: Cli) -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---" + POD
    result = await cli("-n", "shop", "apply", "-f", "-", stdin=text)
    assert result.out == "namespace/shop created\npod/web created\n"
    assert (await cli("get", "pods", "-n", "shop", "-o", "name")).out == "pod/web\n"
    other = await cli(
        "apply", "-n", "default", "-f", "-", stdin=text.replace("name: web", "name: web, namespace: shop")
    )
    assert other.code == 1


async def test_n_that_contradicts_the_manifest_is_refused(cli: Cli) -> None:
    text = POD.replace("  name: web", "  name: web\n  namespace: other")
    result = await cli("apply", "-n", "default", "-f", "-", stdin=text)
    assert (result.code, result.err) == (
        1, 'error: Pod "web" says namespace "other" but -n says "default": drop one of them\n'
    )  # fmt: skip


async def test_apply_wait_tells_when_the_pod_is_ready(cli: Cli) -> None:
    result = await cli("apply", "--wait", "-f", "-", stdin=POD + "---" + SETTINGS)
    assert (result.code, result.out) == (0, "pod/web created\nconfigmap/settings created\npod/web is ready\n")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "cannot pull image hello:1: no such image"),
        ("CreateContainerError", "cannot create container: no such command"),
        ("CreateContainerConfigError", 'config map "x" not found'),
        ("RunContainerError", "cannot start container: permission denied"),
        ("FailedMount", "/nope is no directory"),
    ],
)
async def test_apply_wait_gives_up_with_the_waiting_reason(
    cli: Cli, scripted: ScriptedHost, reason: str, message: str
) -> None:
    scripted.refuse["web"] = (reason, message)
    result = await cli("apply", "--wait", "--timeout=30s", "-f", "-", stdin=POD)
    assert result.code == 1
    assert f"error: pod/web can't start: container app: {reason}: {message}" in result.err
    assert "`mesh describe pod web` tells more" in result.err


async def test_apply_wait_gives_up_on_an_event_that_ends_hope(cli: Cli, scripted: ScriptedHost) -> None:
    scripted.hold.add("web")
    async with cli.program("apply", "--wait", "-f", _file(cli, POD)) as program:
        await program.line_with("created")
        scripted.event(await _pod(cli, "web"), "FailedMount", "cannot mount volume data: /nope is missing")
        code, err = await program.end()
    assert (code, "FailedMount: cannot mount volume data: /nope is missing" in err) == (1, True)


async def test_apply_wait_times_out_saying_how_the_pod_is(cli: Cli, scripted: ScriptedHost) -> None:
    scripted.hold.add("web")
    result = await cli("apply", "--wait", "--timeout=3s", "-f", "-", stdin=POD)
    assert result.code == 1
    assert 'timed out after 3s waiting for readiness of pod "web": it is ContainerCreating' in result.err


async def test_get_prints_kubectls_columns(cli: Cli) -> None:
    await cli("apply", "--wait", "-f", "-", stdin=POD)
    plain = (await cli("get", "po")).out.splitlines()
    assert plain[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert plain[1].split()[:4] == ["web", "1/1", "Running", "0"]
    wide = (await cli("get", "pods", "-o", "wide", "-A", "--show-labels")).out.splitlines()
    assert wide[0].split()[:2] == ["NAMESPACE", "NAME"]
    assert wide[1].split()[-1] == "app=web"
    assert "host1" in wide[1]
    nodes = (await cli("get", "no", "--no-headers")).out.split()
    assert nodes[:3] == ["host1", "Ready", "<none>"]


async def test_columns_of_labels_follow_the_kinds_own(cli: Cli) -> None:
    await cli("apply", "-f", "-", stdin=POD)
    lines = (await cli("get", "pods", "-L", "app,tier", "-L", "mesh/zone")).out.splitlines()
    assert lines[0].split()[-3:] == ["APP", "TIER", "ZONE"]
    assert lines[1].split()[-1] == "web"


async def test_the_namespace_of_the_context_is_set_in_kubectls_words_and_in_ours(cli: Cli) -> None:
    done = await cli("config", "set-context", "--current", "--namespace=kube-system")
    assert (done.code, done.out) == (0, 'Context "test" now works in namespace "kube-system".\n')
    assert "No resources found in kube-system namespace." in (await cli("get", "cm")).err
    assert (await cli("config", "set-namespace", "default")).code == 0
    assert "No resources found in default namespace." in (await cli("get", "cm")).err


async def test_get_shows_several_kinds_and_several_names(cli: Cli) -> None:
    await cli("apply", "-f", "-", stdin=POD + "---" + SETTINGS)
    two = await cli("get", "po,cm")
    assert [line.split()[0] for line in two.out.splitlines() if line] == [
        "NAME",
        "pod/web",
        "NAME",
        "configmap/settings",
    ]
    slashed = await cli("get", "pod/web", "cm/settings", "-o", "name")
    assert slashed.out == "pod/web\nconfigmap/settings\n"
    partly = await cli("get", "pod", "web", "nope")
    assert partly.code == 1
    assert partly.out.splitlines()[1].startswith("web ")
    assert partly.err.startswith("Error from server (NotFound): ")
    assert '"nope"' in partly.err


async def test_get_answers_for_programs(cli: Cli) -> None:
    await cli("apply", "-f", "-", stdin=POD + "---" + named("zoo"))
    one = json.loads((await cli("get", "pod", "web", "-o", "json")).out)
    assert (one["kind"], one["metadata"]["name"]) == ("Pod", "web")
    many = yaml.safe_load((await cli("get", "pods", "-o", "yaml")).out)
    assert (many["kind"], len(many["items"])) == ("List", 2)
    names = await cli("get", "pods", "-o", 'jsonpath={range .items[*]}{.metadata.name}{"\\n"}{end}')
    assert names.out == "web\nzoo\n"
    empty = json.loads((await cli("get", "cm", "-o", "json")).out)
    assert empty["items"] == []


async def test_get_chooses_and_sorts(cli: Cli) -> None:
    await cli("apply", "-f", "-", stdin=POD + "---" + named("api").replace("app: web", "app: api"))
    assert (await cli("get", "pods", "-l", "app=api", "-o", "name")).out == "pod/api\n"
    assert (await cli("get", "pods", "-l", "app!=api", "-o", "name")).out == "pod/web\n"
    assert (await cli("get", "pods", "--field-selector", "metadata.name=web", "-o", "name")).out == "pod/web\n"
    assert (await cli("get", "pods", "--sort-by", ".metadata.labels.app", "-o", "name")).out == "pod/api\npod/web\n"
    wrong = await cli("get", "pods", "-l", "app in web")
    assert (wrong.code, "app in web" in wrong.err) == (1, True)


async def test_what_is_not_there_is_said_on_standard_error(cli: Cli) -> None:
    none = await cli("get", "pods")
    assert (none.code, none.out, none.err) == (0, "", "No resources found in default namespace.\n")
    everywhere = await cli("get", "pods", "-A")
    assert everywhere.err == "No resources found.\n"
    quiet = await cli("get", "pod", "nope", "--ignore-not-found")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


async def test_get_watch_shows_what_changes(cli: Cli) -> None:
    async with cli.program("get", "pods", "-w") as program:
        await cli("apply", "-f", "-", stdin=POD)
        assert (await program.line()).split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
        await program.line_with("Running")
        await cli("delete", "pod", "web")
        await program.line_with("Terminating")


async def test_describe_tells_the_pod_with_its_events(cli: Cli) -> None:
    await cli("apply", "--wait", "-f", "-", stdin=POD)
    told = (await cli("describe", "pod", "web")).out
    for text in ("Name:", "host1/192.0.2.1", "app=web", "hello:1", "Conditions:", "Scheduled"):
        assert text in told
    assert "last-applied" not in told
    assert (await cli("describe", "pod", "we")).out.startswith("Name:")  # the beginning of a name is enough
    assert (await cli("describe", "pod", "nope")).code == 1
    node = (await cli("describe", "node", "host1")).out
    assert "Non-terminated Pods (1 in total)" in node


async def test_create_is_for_what_is_not_there_yet(cli: Cli) -> None:
    assert (await cli("create", "-f", "-", stdin=POD)).out == "pod/web created\n"
    again = await cli("create", "-f", "-", stdin=POD)
    assert (again.code, again.err.startswith("Error from server (AlreadyExists): ")) == (1, True)
    assert (await cli("create", "namespace", "shop")).out == "namespace/shop created\n"
    assert (await cli("create", "ns", "Shop")).code == 1


async def test_create_configmap_and_secret_from_words_and_files(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("a=1\n")
    (tmp_path / "vars").write_text("# words\nUSER=me\n\nPASSWORD=pass=word\n")
    made = await cli("create", "cm", "c", "--from-literal", "k=v=w", "--from-file", str(tmp_path / "app.conf"))
    assert made.out == "configmap/c created\n"
    data = json.loads((await cli("get", "cm", "c", "-o", "json")).out)["data"]
    assert data == {"k": "v=w", "app.conf": "a=1\n"}
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "one").write_text("1")
    (folder / "raw").write_bytes(b"\xff")
    (folder / "link").symlink_to(folder / "one")
    env = tmp_path / "vars"
    await cli("create", "cm", "d", "--from-file", str(folder), "--from-file", f"key={env}", "--from-env-file", str(env))
    made_d = json.loads((await cli("get", "cm", "d", "-o", "json")).out)
    assert made_d["data"] == {"one": "1", "key": env.read_text(), "USER": "me", "PASSWORD": "pass=word"}
    assert made_d["binaryData"] == {"raw": "/w=="}
    (folder / "no good").touch()
    assert "no good" in (await cli("create", "cm", "e", "--from-file", str(folder))).err
    secret = ("create", "secret", "generic", "s", "--from-env-file", str(tmp_path / "vars"))
    dry = await cli(*secret, "--dry-run=client", "-o", "yaml")
    assert yaml.safe_load(dry.out)["data"] == {"USER": "bWU=", "PASSWORD": "cGFzcz13b3Jk"}
    assert (await cli("get", "secret", "s")).code == 1
    assert (await cli(*secret)).out == "secret/s created\n"
    assert "8 bytes" not in (told := (await cli("describe", "secret", "s")).out)
    assert "PASSWORD:  9 bytes" in told
    assert "pass=word" not in told


async def test_delete_waits_until_the_pod_is_gone(cli: Cli, scripted: ScriptedHost) -> None:
    await cli("apply", "--wait", "-f", "-", stdin=POD)
    gone = await cli("delete", "pod", "web")
    assert (gone.code, gone.out) == (0, 'pod "web" deleted\n')
    assert (await cli("get", "pod", "web")).code == 1
    again = await cli("delete", "pod", "web")
    assert (again.code, again.err.startswith("Error from server (NotFound): ")) == (1, True)
    assert (await cli("delete", "pod", "web", "--ignore-not-found")).code == 0


async def test_delete_chooses_by_label_by_file_and_all(cli: Cli) -> None:
    await cli("apply", "-f", "-", stdin="---".join([POD, named("a"), named("b"), SETTINGS]))
    assert (await cli("delete", "pods", "-l", "app=web", "--dry-run=server")).out.count("server dry run") == 3
    assert (await cli("delete", "-f", "-", stdin=SETTINGS)).out == 'configmap "settings" deleted\n'
    assert (await cli("delete", "pod/a", "pod/b", "--now", "-o", "name")).out == "pod/a\npod/b\n"
    assert (await cli("delete", "pods", "--all")).out == 'pod "web" deleted\n'
    unsaid = await cli("delete", "pods")
    assert (unsaid.code, "names, -l LABELS or --all" in unsaid.err) == (1, True)


async def test_delete_by_force_says_the_danger(cli: Cli) -> None:
    await cli("apply", "-f", "-", stdin=POD)
    forced = await cli("delete", "pod", "web", "--force")
    assert forced.out == 'pod "web" force deleted\n'
    assert forced.err.startswith("Warning: the objects are forgotten at once")


async def test_events_are_listed_for_an_object(cli: Cli, scripted: ScriptedHost) -> None:
    await cli("apply", "--wait", "-f", "-", stdin=POD)
    scripted.event(await _pod(cli, "web"), "Unhealthy", "it does not answer")
    await cli("wait", "event/web.unhealthy", "--for=create")
    told = (await cli("events", "--for", "pod/web", "--types", "Warning")).out.splitlines()
    assert told[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert told[1].split()[1:] == ["Warning", "Unhealthy", "pod/web", "it", "does", "not", "answer"]
    assert (await cli("events", "--for", "pod/nope")).err == "No events found in default namespace.\n"


async def test_wait_says_what_is_met_and_what_is_not(cli: Cli, scripted: ScriptedHost) -> None:
    scripted.hold.add("slow")
    await cli("apply", "-f", "-", stdin=POD + "---" + named("slow"))
    met = await cli("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
    assert (met.code, met.out) == (0, "pod/web condition met\n")
    phase = await cli("wait", "pod", "web", "--for=jsonpath={.status.phase}=Running")
    assert phase.out == "pod/web condition met\n"
    late = await cli("wait", "pods", "-l", "app=web", "--for=condition=Ready", "--timeout=3s")
    assert (late.code, late.out) == (1, "pod/web condition met\n")
    assert 'timed out after 3s waiting for condition Ready of pod "slow": it is ContainerCreating' in late.err
    assert (await cli("wait", "pod/nope", "--for=condition=Ready")).err == 'error: pod "nope" not found\n'
    assert (await cli("wait", "pod/nope", "--for=delete")).out == "pod/nope deleted\n"
    assert (await cli("wait", "pod/web", "--for=luck")).code == 1


async def test_status_names_what_needs_somebody(cli: Cli, scripted: ScriptedHost) -> None:
    await cli("apply", "--wait", "-f", "-", stdin=POD)
    well = await cli("status")
    assert well.code == 0
    assert "Everything is well." in well.out
    assert "host1   Ready    connected   1" in well.out
    scripted.refuse["bad"] = ("ErrImagePull", "no such image")
    await cli("apply", "--wait", "-f", "-", stdin=named("bad"))
    ill = await cli("status")
    assert (ill.code, "! pod default/bad: container app is in ErrImagePull" in ill.out) == (1, True)


async def test_the_kinds_and_the_versions_are_told(cli: Cli) -> None:
    kinds = (await cli("api-resources")).out
    assert ["pods", "po", "v1", "true", "Pod"] in [line.split() for line in kinds.splitlines()]
    assert "rangeallocations" not in kinds
    assert "rangeallocations" in (await cli("api-resources", "--all")).out
    version = (await cli("version")).out.splitlines()
    assert [line.split(":")[0] for line in version] == ["Client Version", "Server Version"]


def _file(cli: Cli, text: str) -> str:
    path = cli.directory / "manifest.yaml"
    path.write_text(text)
    return str(path)


async def _pod(cli: Cli, name: str) -> Pod:
    text = (await cli("get", "pod", name, "-o", "yaml")).out
    pod = manifest.load(text, name).objects[0]
    assert isinstance(pod, Pod)
    return pod
