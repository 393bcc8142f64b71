"""`make test-matrix`: every row, one after the other; see docs/reliability.md.

    python -m tests.matrix.run [--only WORD] [--write] [--list]

Rule: what is told was measured in this run. `--write` puts the rows that ran into docs/reliability.md's table, each in
its place. Exit code 1 when a row sees what it must not see. Needs root.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.harness.hosts import Failed
from tests.harness.pythonpod import REPOSITORY
from tests.matrix import clock, control, network, outside, programs, resources
from tests.matrix.row import Row, wrong
from tests.matrix.stage import Stage
from tests.matrix.table import written

ROWS = (*programs.ROWS, *network.ROWS, *resources.ROWS, *outside.ROWS, *clock.ROWS, *control.ROWS)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="the rows with this in their name")
    parser.add_argument("--write", action="store_true", help="put what was seen into docs/reliability.md")
    parser.add_argument("--list", action="store_true", help="say the rows' names, and play none")
    told = parser.parse_args()
    rows = [row for row in ROWS if not told.only or any(word in row.name for word in told.only)]
    if told.list:
        print("\n".join(row.name for row in rows))
        return 0
    with tempfile.TemporaryDirectory(prefix="matrix-") as directory:
        image = Path(directory) / "hello.tar"
        subprocess.run([str(REPOSITORY / "examples" / "hello" / "image.sh"), str(image)], check=True)
        with Stage(Path(directory), image) as stage:
            return play(stage, rows, told.write)


def play(stage: Stage, rows: Sequence[Row[Stage]], write: bool) -> int:
    """Rows one after the other; what each came to is told, and written, as soon as it is known."""
    code = 0
    for row in rows:
        try:
            seen = stage.play(row)
        except Failed as failure:
            print(f"FAILED: {row.name}: {failure}", file=sys.stderr, flush=True)
            code = 1
            stage.all_well()  # or no other row can be played
            continue
        print(seen.line(row), flush=True)
        found = wrong(row, seen)
        if found:
            print(f"FAILED: {row.name}: {'; '.join(found)}", file=sys.stderr, flush=True)
            code = 1
        elif write:
            written(row.name, seen.line(row))
    return code


if __name__ == "__main__":
    sys.exit(main())
