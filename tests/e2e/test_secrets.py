"""Secrets in whole programs: the audit of a host with real Ray, Podman and meshd finds nothing."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE
from tests.harness.hosts import FakeHost


@pytest.mark.timeout(600)
def test_the_audit_finds_no_secret_on_a_host(host: FakeHost, archive: Path) -> None:
    host.up()
    host.import_image(archive, IMAGE)
    host.mesh("wait", f"node/{host.name}", "--for=create", "--timeout=60s")
    host.mesh("wait", f"node/{host.name}", "--for=condition=Ready", "--timeout=60s")
    told = json.loads(host.mesh("secrets", "audit", "--image", IMAGE, "-o", "json", timeout=240))
    assert told["traces"] == []
    assert told["bytes"]["/run/mesh"] > 1_000_000
    assert {"podman inspect of all containers", "command lines of all processes"} <= set(told["files"])
    assert told["left_out"]["/run/mesh/run"] == "is tmpfs, and no disk"
