"""`mesh backup` and `mesh restore` with the store of a real meshd on a disk."""

import asyncio
import stat
from pathlib import Path

import pytest

from mesh.meshd import Settings
from mesh.model.keys import Key
from mesh.model.kinds import key_of
from mesh.store.codec import PlainCodec
from mesh.store.sqlite import SqliteStore
from tests.harness.cli import Cli, run_here
from tests.harness.control import control

SETTINGS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}}}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "meshd").mkdir(parents=True)
    return tmp_path / "root"


async def _restore(root: Path, file: Path) -> tuple[int, str]:
    result = await asyncio.to_thread(run_here, ["restore", str(file), "--root", str(root)], b"", {})
    return result.code, result.out + result.err


async def test_a_backup_brings_back_what_was_there(root: Path, tmp_path: Path) -> None:
    store = await SqliteStore.open(root / "meshd" / "store.db", PlainCodec())
    settings = Settings(copy_store=store.backup, scratch=root)
    file = tmp_path / "backup.db"
    async with control(store=store, settings=settings) as mesh:
        cli = Cli(mesh, tmp_path)
        await cli("apply", "-f", "-", stdin=SETTINGS.format("before"))
        result = await cli("backup", str(file))
        assert (result.code, result.out.startswith(f"Wrote {file} (")) == (0, True)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        again = await cli("backup", str(file))
        assert (again.code, "--overwrite" in again.err) == (1, True)
        await cli("apply", "-f", "-", stdin=SETTINGS.format("after"))
        assert (await cli("backup", str(file.with_name("second")))).code == 0
        code, said = await _restore(root, file)
        assert (code, "another meshd has it open" in said) == (1, True)
    await store.close()
    code, said = await _restore(root, file)
    assert (code, "is kept as" in said) == (0, True)
    restored = await SqliteStore.open(root / "meshd" / "store.db", PlainCodec())
    names = {key_of(o) for o in (await restored.snapshot()).objects}
    await restored.close()
    assert Key("ConfigMap", "default", "before") in names
    assert Key("ConfigMap", "default", "after") not in names


async def test_what_is_no_backup_is_refused_and_the_store_stays(root: Path, tmp_path: Path) -> None:
    store = await SqliteStore.open(root / "meshd" / "store.db", PlainCodec())
    await store.close()
    before = (root / "meshd" / "store.db").read_bytes()
    (tmp_path / "junk").write_bytes(b"no store" * 1000)
    for file in (tmp_path / "junk", tmp_path / "missing"):
        code, said = await _restore(root, file)
        assert (code, said.startswith("error: ")) == (1, True), said
        assert "did not expect" not in said
    assert (root / "meshd" / "store.db").read_bytes() == before
    code, said = await _restore(tmp_path / "nowhere", tmp_path / "junk")
    assert (code, "there is no mesh below" in said) == (1, True)
