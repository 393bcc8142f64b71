"""Preparing a host and undoing it, on the machine itself: mounts, modes, choice of runtime, reboot, no trace."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.config import AgentConfig
from nodeagent.prepare import prepare, unprepare
from nodeagent.runtime import oci, syscalls
from nodeagent.runtime.places import Places
from nodeagent.volumes import memory
from tests.harness.podman import IMAGE, import_image, podman_host

pytestmark = pytest.mark.host
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


@pytest.fixture
def config() -> Iterator[AgentConfig]:
    root = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    config = AgentConfig(node_name="prepared", node_ip="127.0.0.1", root=root, bridge="mtprep0")
    yield config
    unprepare(config)
    shutil.rmtree(root)


def mounts(config: AgentConfig) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(config.root) in line]


def test_a_host_is_prepared_once_and_again(config: AgentConfig) -> None:
    chosen = prepare(config)
    places = Places.of(config)
    first = mounts(config)
    assert len(first) == 5
    assert all(" tmpfs " in line and "mode=700" in line for line in first)
    for directory in (config.root, places.run, places.libpod, places.bundles, places.log, places.oci_state, places.ray):
        assert directory.stat().st_mode & 0o777 == 0o700, directory
        assert directory.stat().st_uid == 0
    (places.sandboxes / "kept").write_text("a sandbox")
    for directory in (places.run, places.libpod, places.bundles, places.volumes):
        assert memory.exposed(syscalls.mount_of(str(directory)), swaps=True) == "", directory
    assert FORWARD.read_text() == "1\n"
    assert prepare(config) == chosen
    assert mounts(config) == first
    assert (places.sandboxes / "kept").exists()
    (places.sandboxes / "kept").unlink()


def test_undoing_leaves_no_trace_and_may_be_repeated(config: AgentConfig) -> None:
    forwarded, hierarchies = FORWARD.read_text(), sorted(Path("/sys/fs/cgroup").iterdir())
    prepare(config)
    unprepare(config)
    assert mounts(config) == []
    assert FORWARD.read_text() == forwarded
    assert set(Path("/sys/fs/cgroup").iterdir()) == set(hierarchies)
    unprepare(config)


def test_memory_is_never_swapped_on_a_kernel_that_has_no_such_tmpfs(
    config: AgentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:  # V3
    really = syscalls.mount

    def older(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
        if "noswap" in data:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), target)
        really(source, target, kind, flags, data)

    monkeypatch.setattr(syscalls, "mount", older)
    prepare(config)
    places = Places.of(config)
    assert memory.exposed(syscalls.mount_of(str(places.volumes)), swaps=True) == ""
    assert "may swap to a disk" in memory.exposed(syscalls.mount_of(str(places.bundles)), swaps=True)
    assert memory.exposed(syscalls.mount_of(str(places.bundles)), swaps=False) == ""
    assert "is on a disk" in memory.exposed(syscalls.mount_of(str(places.state)), swaps=False)


def test_runc_takes_over_where_crun_fails_and_why_is_said(
    config: AgentConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "crun"
    broken.write_text("#!/bin/sh\necho 'crun: no such luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    chosen = prepare(config)
    assert chosen.name == "runc"
    assert chosen.why == "crun failed: crun: no such luck; runc ran a container with limits"
    assert oci.Chosen.load(Places.of(config).runtime) == chosen


def test_no_runtime_at_all_is_said_with_every_reason(config: AgentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci, "PREFERENCE", ("nosuch", "neither"))
    with pytest.raises(RuntimeError, match="nosuch is not installed; neither is not installed"):
        prepare(config)


def test_after_a_reboot_images_stay_and_writable_layers_do_not_pile_up() -> None:
    with podman_host() as host:
        places = Places.of(host.config)
        for _ in range(3):
            host.podman("create", "--network", "none", IMAGE)
        host.kill()
        before = {d.name for d in (places.graph / "overlay").iterdir()}
        for directory in (places.libpod, places.bundles, places.run):  # power off: what is on tmpfs is gone
            syscalls.unmount(directory)
        prepare(host.config)
        after = {d.name for d in (places.graph / "overlay").iterdir()}
        assert len(before - after) == 3
        host.start()
        assert host.podman("ps", "--all", "--quiet") == ""
        assert IMAGE in host.podman("images", "--format", "{{.Repository}}:{{.Tag}}")
        import_image(host, "localhost/another:1", "ENV ANOTHER=1")
        assert host.podman("run", "--rm", "--network", "none", IMAGE, "echo", "on") == "on\n"


def test_the_commands_say_what_they_did_and_what_is_wrong(config: AgentConfig) -> None:
    def nodeagent(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nodeagent", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    file = config.root / "agent.toml"
    file.write_text(f'node_name = "n"\nnode_ip = "127.0.0.1"\nroot = "{config.root}"\nbridge = "mtprep0"\n')
    done = nodeagent("prepare", "--config", str(file))
    assert done.returncode == 0, done.stderr
    assert "ran a container with limits" in done.stdout
    assert nodeagent("unprepare", "--config", str(file)).returncode == 0
    assert mounts(config) == []

    file.write_text("node_name = 1\n")
    done = nodeagent("prepare", "--config", str(file))
    assert done.returncode == 1
    assert "root: is required" in done.stderr
    assert "Traceback" not in done.stderr
