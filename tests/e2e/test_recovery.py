"""What docs/secrets.md tells to do when a key is lost, done on a host: nothing that runs stops, and all works again."""

import json

import pytest

from tests.e2e.conftest import IMAGE
from tests.harness.hosts import FakeHost

pytestmark = pytest.mark.timeout(600)


def reader(name: str) -> str:
    """A pod that has the Secret's file."""
    mount = {"name": "files", "mountPath": "/files"}
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "3600"], "volumeMounts": [mount]}
    spec = {
        "containers": [container], "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "files", "secret": {"secretName": "login"}}],
    }  # fmt: skip
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}) + "\n"


def runs(host: FakeHost, name: str, value: str) -> None:
    host.mesh("apply", "-f", "-", "--wait", "--timeout=60s", text=reader(name))
    assert host.mesh("exec", name, "--", "cat", "/files/password") == value


def create(host: FakeHost, value: str) -> None:
    host.mesh("create", "secret", "generic", "login", "--from-literal", f"password={value}")


def test_the_stores_key_then_the_authority_are_lost(host: FakeHost, archive: object) -> None:
    host.up()
    host.import_image(archive, IMAGE)  # type: ignore[arg-type]  # a path
    host.mesh("wait", f"node/{host.name}", "--for=create", "--timeout=60s")
    create(host, "tiger")
    runs(host, "early", "tiger")
    early = host.containers()

    host.mesh("down")
    (host.state / "keys" / "store.key").unlink()
    assert host.mesh("secrets", "forget-unreadable").split() == ["default/login"]
    assert "default/login removed" in host.mesh("secrets", "forget-unreadable", "--yes")
    host.up()
    host.mesh("wait", f"node/{host.name}", "--for=condition=Ready", "--timeout=60s")
    assert "login" not in host.mesh("get", "secrets", "-o", "name")
    assert host.containers().items() >= early.items()
    assert host.mesh("exec", "early", "--", "cat", "/files/password") == "tiger"  # what it had, it has
    create(host, "lion")
    runs(host, "late", "lion")

    for path in (host.state / "pki").glob("ca.*"):
        path.unlink()
    host.up()
    host.mesh("wait", f"node/{host.name}", "--for=condition=Ready", "--timeout=60s")
    assert host.containers().items() >= early.items()
    assert json.loads(host.mesh("get", "secret", "login", "--show", "-o", "json"))["data"]["password"]
    runs(host, "last", "lion")
