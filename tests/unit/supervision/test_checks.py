"""What `mesh doctor` says of a machine, and that looking at it leaves nothing there."""

from pathlib import Path

import pytest

from mesh.supervision import checks, machine
from mesh.supervision.layout import Layout


def test_a_runtime_that_makes_directories_wherever_it_runs_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, run = tmp_path / "bin", tmp_path / "run"
    programs.mkdir()
    crun = programs / "crun"
    crun.write_text(f'#!/bin/sh\n/bin/mkdir -p "${{XDG_RUNTIME_DIR:-{run}}}/crun"\necho crun version 9\n')
    crun.chmod(0o755)
    monkeypatch.setattr(machine, "_SBIN", str(programs))
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    said = {finding.name: finding.found for finding in checks.machine_checks(Layout(tmp_path / "root"))}
    assert said["crun"] == f"{crun} (crun version 9)"
    assert not run.exists()
