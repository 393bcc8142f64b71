"""`make test-matrix`: every row, one after the other; see docs/reliability.md.

    python -m tests.matrix.run [--only WORD] [--write] [--list]

Rule: what is told was measured in this run. `--write` puts the rows that ran into docs/reliability.md's table, each in
its place. Exit code 1 when a row sees what it must not see. Needs root.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.harness.pythonpod import REPOSITORY
from tests.matrix import clock, control, ha, network, outside, programs, resources
from tests.matrix.row import Row
from tests.matrix.stage import Stage
from tests.matrix.table import told

ROWS = (*programs.ROWS, *network.ROWS, *resources.ROWS, *outside.ROWS, *control.ROWS, *clock.ROWS, *ha.ROWS)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="the rows with this in their name")
    parser.add_argument("--write", action="store_true", help="put what was seen into docs/reliability.md")
    parser.add_argument("--list", action="store_true", help="say the rows' names, and play none")
    wished = parser.parse_args()
    rows = [row for row in ROWS if not wished.only or any(word in row.name for word in wished.only)]
    if wished.list:
        print("\n".join(row.name for row in rows))
        return 0
    code = 0
    while rows:
        code |= _on_a_stage(rows, wished.write)
    return code


def _on_a_stage(rows: list[Row[Stage]], write: bool) -> int:
    """Plays rows until there are none, or one leaves the stage as no other can be played on."""
    code = 0
    with tempfile.TemporaryDirectory(prefix="matrix-") as directory:
        image = Path(directory) / "hello.tar"
        subprocess.run([str(REPOSITORY / "examples" / "hello" / "image.sh"), str(image)], check=True)
        with Stage(Path(directory), image) as stage:
            while rows:
                row = rows.pop(0)
                try:
                    code |= told(row, stage.play(row), write=write)
                except (AssertionError, subprocess.SubprocessError, OSError) as failure:
                    print(f"FAILED: {row.name}: {failure}", file=sys.stderr, flush=True)
                    return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
