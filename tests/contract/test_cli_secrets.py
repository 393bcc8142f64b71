"""`mesh create secret`, `mesh get secret` and `mesh secrets` against a real meshd and a real agent with a certificate:
from the command line to the files of a pod and the receipts of its host."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh import pki
from mesh.config import Limits
from mesh.meshd import Settings
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import create_key_file
from mesh.store.keysource import FileKeys
from mesh.store.memory import MemoryStore
from mesh.store.rotation import KeyRotation
from mesh.store.sqlite import SqliteStore
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from tests.harness.agents import VITALS
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, certify, control, test_pki
from tests.harness.fake_runtime import FakeHost, FakeRuntime
from tests.harness.waiting import wait_for_text

CANARY = "the-canary-sings"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: app
    image: localhost/hello:1
    env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: login, key: token}}}]
    volumeMounts: [{name: files, mountPath: /files}]
  volumes: [{name: files, secret: {secretName: login}}]
"""


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    """A host with a certificate of the tests' authority."""
    config = AgentConfig("a", "192.0.2.1", tmp_path / "host")
    certify("a", config.pki_dir)
    runtime = FakeRuntime(FakeHost())
    made = Agent(config, runtime, vitals=lambda: VITALS, exposure=lambda _: "")
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def mesh(agent: Agent) -> AsyncIterator[RunningMeshd]:
    async with control(agents={"a": agent}, store=MemoryStore()) as running:
        yield running


@pytest.fixture
def cli(mesh: RunningMeshd, tmp_path: Path) -> Cli:
    return Cli(mesh, tmp_path)


async def test_from_the_command_line_to_the_files_and_back(cli: Cli, agent: Agent, tmp_path: Path) -> None:
    await cli("wait", "node/a", "--for=create", "--timeout=60s")
    (tmp_path / "token").write_text(CANARY)
    await cli("create", "secret", "generic", "login", "--from-file", str(tmp_path / "token"))
    assert (await cli("apply", "-f", "-", "--wait", "--timeout=60s", stdin=POD)).code == 0
    uid = json.loads((await cli("get", "pod", "web", "-o", "json")).out)["metadata"]["uid"]
    file = agent.config.memory_dir / uid / "files" / "token"
    assert file.read_text() == CANARY
    told = await cli("secrets", "status", "login", "-o", "json")
    assert told.code == 0
    places = {(d["pod"], d["host"], d["where"], d["current"]) for d in json.loads(told.out)["deliveries"]}
    assert places == {("web", "a", "volume files", True), ("web", "a", "environment of app", True)}
    patch = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
                        "stringData": {"token": "newer"}})  # fmt: skip
    await cli("apply", "-f", "-", stdin=patch)
    await asyncio.to_thread(wait_for_text, file, "newer", 60)
    async with asyncio.timeout(60):
        while "1 of 2" not in (shown := await cli("secrets", "status", "login")).out:
            pass  # receipts tell nobody when they come; each question takes its time
    assert shown.code == 1  # the environment is of the start
    assert "changes with the next start of the container" in shown.out
    assert CANARY not in shown.out + told.out
    log = await cli("get", "pod", "web", "-o", "yaml")
    assert "newer" not in log.out
    assert CANARY not in log.out


async def test_values_are_hidden_unless_asked_for(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"TOKEN={CANARY}\n")
    await cli("create", "secret", "generic", "s", "--from-env-file", str(tmp_path / "env"))
    secret = base64.b64encode(CANARY.encode()).decode()
    for form in ("yaml", "json", "jsonpath={.data.TOKEN}"):
        assert secret not in (shown := await cli("get", "secret", "s", "-o", form)).out
        assert "hidden" in shown.out
        assert secret in (await cli("get", "secret", "s", "-o", form, "--show")).out
    hidden = await cli("get", "secret", "s", "-o", "yaml")
    refused = await cli("apply", "-f", "-", stdin=hidden.out)
    assert (refused.code, "base64" in refused.err) == (1, True)


async def test_typed_secrets_from_files(cli: Cli, tmp_path: Path) -> None:
    now = int(time.time())
    one, other = (pki.issue(test_pki().ca, pki.server("x", ()), now) for _ in range(2))
    for name, text in (("c.crt", one.certificate), ("c.key", one.key), ("o.key", other.key)):
        (tmp_path / name).write_bytes(text)
    tls = ("create", "secret", "tls", "site", "--cert", str(tmp_path / "c.crt"), "--key")
    assert "not the certificate's" in (await cli(*tls, str(tmp_path / "o.key"))).err
    assert (await cli(*tls, str(tmp_path / "c.key"))).out == "secret/site created\n"
    made = json.loads((await cli("get", "secret", "site", "-o", "json", "--show")).out)
    assert made["type"] == "kubernetes.io/tls"
    assert base64.b64decode(made["data"]["tls.key"]) == one.key
    pull = ("create", "secret", "docker-registry", "pull", "--docker-server", "r.example", "--docker-username", "ada")
    assert "docker-password-file" in (await cli(*pull)).err
    assert (await cli(*pull, "--docker-password-file", "-", stdin=f"{CANARY}\n")).out == "secret/pull created\n"
    held = json.loads((await cli("get", "secret", "pull", "-o", "json", "--show")).out)
    config = json.loads(base64.b64decode(held["data"][".dockerconfigjson"]))
    assert config["auths"]["r.example"]["username"] == "ada"
    assert base64.b64decode(config["auths"]["r.example"]["auth"]).decode() == f"ada:{CANARY}"


async def test_the_stores_key_is_rotated_from_the_command_line(tmp_path: Path) -> None:
    keys = tmp_path / "keys" / "store.key"
    ring = create_key_file(keys)
    store = await SqliteStore.open(tmp_path / "store.db", EncryptedCodec(ring))
    rotation = KeyRotation(FileKeys(keys), ring, store)
    async with control(store=store, settings=Settings(rotation=rotation)) as mesh:
        cli = Cli(mesh, tmp_path)
        (tmp_path / "token").write_text(CANARY)
        await cli("create", "secret", "generic", "s", "--from-file", str(tmp_path / "token"))
        old = ring.primary
        told = await cli("secrets", "rotate-keys")
        assert (told.code, told.out.splitlines()[-1].startswith("done: the old key is retired")) == (0, True)
        shown = await cli("get", "secret", "s", "--show", "-o", "jsonpath={.data.token}")
        assert base64.b64decode(shown.out).decode() == CANARY
        assert old not in keys.read_text()
    await store.close()


async def test_a_store_in_memory_has_no_key(cli: Cli) -> None:
    assert "has no key" in (await cli("secrets", "rotate-keys")).err


async def test_a_secret_that_nobody_has_heard_of(cli: Cli) -> None:
    assert (await cli("secrets", "status", "none")).code == 1


async def test_what_a_host_may_hold_of_secrets_is_bounded_and_said(agent: Agent, tmp_path: Path) -> None:
    ahead = [0]
    limits = Limits(secret_bytes_per_host=1 << 20)
    settings = Settings(limits=limits, clock=lambda: time.time_ns() + ahead[0])
    async with control(agents={"a": agent}, store=MemoryStore(), settings=settings) as mesh:
        cli = Cli(mesh, tmp_path)
        await cli("wait", "node/a", "--for=create", "--timeout=60s")
        (tmp_path / "token").write_bytes(b"x" * 700_000)
        for name in ("login", "more"):
            await cli("create", "secret", "generic", name, "--from-file", str(tmp_path / "token"))
        pod = POD.replace("env:", "args: [] #")
        assert (await cli("apply", "-f", "-", "--wait", "--timeout=60s", stdin=pod)).code == 0
        second = pod.replace("web", "two").replace("login", "more")
        ahead[0] = 1_000_000_000  # pods are told apart by seconds: of one second, either may be the one that waits
        result = await cli("apply", "-f", "-", "--wait", "--timeout=60s", stdin=second)
        assert result.code == 1
        assert "a host may hold 1048576 bytes of Secrets" in result.err
        assert (await cli("delete", "pod", "web", "--wait")).code == 0  # and there is room again
        assert (await cli("wait", "pod/two", "--for=condition=Ready", "--timeout=60s")).code == 0
