"""Rows: the clock of all hosts jumps. It is this machine's, so it jumps for the mesh's programs alone (clock.c).

Rule: programs that load clock.c are started before the row is played; Podman and containers have this machine's time.
"""

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.harness.hosts import ROOT
from tests.matrix.network import pause
from tests.matrix.row import Row
from tests.matrix.stage import Stage

HOUR = 3600
PROGRAMS = ("mesh-ray", "mesh-meshd", "mesh-netproxy", "mesh-netproxy-tunnel", "mesh-standby")


def _begin(stage: Stage) -> None:
    """Starts the mesh's programs with a clock that can jump."""
    _set(stage, 0)
    library = stage.directory / "clock.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", f'-DOFFSET_FILE="{_file(stage)}"', "-o", str(library),
         str(Path(__file__).with_name("clock.c")), "-ldl"], check=True,
    )  # fmt: skip
    for host in stage.hosts:
        for name in PROGRAMS:
            script = host.path(ROOT / "sv" / name / "run")
            if script.exists():
                text = script.read_text()
                if "LD_PRELOAD" not in text:
                    script.write_text(text.replace("exec env -i ", f"exec env -i LD_PRELOAD={library} "))
                    host.run("sv", "-w", "60", "restart", str(ROOT / "sv" / name), check=False)


def _file(stage: Stage) -> Path:
    return stage.directory / "clock.offset"


def _set(stage: Stage, seconds: int) -> None:
    with _file(stage).open("r+b" if _file(stage).exists() else "wb") as file:
        file.write(struct.pack("l", seconds))


def jumps(seconds: int) -> Callable[[Stage], None]:
    """By so much, and back."""

    def strike(stage: Stage) -> None:
        _set(stage, seconds)
        try:
            pause(20)
            stage.first.mesh("get", "pods")
        finally:
            _set(stage, 0)
        pause(10)

    return strike


ROWS = (
    Row("clock an hour ahead for 20 s, and back", "nothing", jumps(HOUR), before=_begin),
    Row("clock an hour behind for 20 s, and back", "nothing", jumps(-HOUR), before=_begin),
)
