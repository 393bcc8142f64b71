"""Keys that systemd hands over: they count, unless their file was written since."""

import os
from pathlib import Path

import pytest

from mesh import pki
from mesh.errors import Unavailable
from mesh.handed import DIRECTORY, handed
from mesh.store.keyring import create_key_file
from mesh.store.keysource import FileKeys
from nodeagent.config import AgentConfig
from nodeagent.identity import Identity


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "credentials"
    directory.mkdir()
    monkeypatch.setenv(DIRECTORY, str(directory))
    return directory


def test_without_systemd_it_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DIRECTORY, raising=False)
    assert handed(tmp_path / "agent.key") == tmp_path / "agent.key"


def test_what_was_handed_over_counts_until_the_file_is_written_anew(tmp_path: Path, credentials: Path) -> None:
    file, credential = tmp_path / "agent.key", credentials / "agent.key"
    file.write_text("old")
    assert handed(file) == file  # nothing of that name was handed over
    credential.write_text("old")
    os.utime(file, ns=(1, credential.stat().st_mtime_ns - 1))
    assert handed(file) == credential
    os.utime(file, ns=(1, credential.stat().st_mtime_ns + 1))
    assert handed(file) == file
    file.unlink()
    assert handed(file) == credential


def test_the_store_opens_with_a_key_that_only_systemd_hands_over(tmp_path: Path, credentials: Path) -> None:
    path = tmp_path / "keys" / "store.key"
    ring = create_key_file(path)
    path.rename(credentials / "store.key")
    (credentials / "store.key").chmod(0o440)  # as systemd does it
    assert FileKeys(path).load().primary == ring.primary
    (credentials / "store.key").unlink()
    with pytest.raises(Unavailable, match="missing"):
        FileKeys(path).load()


def test_a_host_proves_itself_with_a_key_that_only_systemd_hands_over(tmp_path: Path, credentials: Path) -> None:
    config = AgentConfig("node1", "127.0.0.1", tmp_path)
    ca = pki.make_ca("test", 1_700_000_000)
    pair = pki.issue(ca, pki.node("node1"), 1_700_000_000)
    config.pki_dir.mkdir()
    (config.pki_dir / "agent.crt").write_bytes(pair.certificate)
    (config.pki_dir / "ca.crt").write_bytes(ca.certificate)
    (credentials / "agent.key").write_bytes(pair.key)
    assert Identity.of(config).trust().own() == pair
