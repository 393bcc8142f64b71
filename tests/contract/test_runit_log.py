"""What keeps the logs where runit is the supervisor: the script itself, services that say much, a full disk."""

import subprocess
from pathlib import Path

from mesh.supervision.runit import log_script

DEADLINE = 120
LINES = [b"line %07d\n" % number for number in range(30_000)]  # 400 kB, much more than a pipe holds


def keeper(directory: Path, **limits: int) -> "subprocess.Popen[bytes]":
    """The script, as runsv starts it."""
    return subprocess.Popen(["sh", "-c", log_script(directory, **limits)], stdin=subprocess.PIPE)


def test_what_a_service_says_is_kept_to_the_letter_and_it_ends_with_the_service(tmp_path: Path) -> None:
    for part in (LINES[:15_000], LINES[15_000:]):
        said = keeper(tmp_path)
        said.communicate(b"".join(part), DEADLINE)
        assert said.returncode == 0
    assert (tmp_path / "current").read_bytes() == b"".join(LINES)
    assert (tmp_path / "current").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_stops_no_service_and_is_told_once_there_is_room(tmp_path: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to("/dev/full")
    said = keeper(tmp_path)
    assert said.stdin is not None
    said.stdin.write(b"".join(LINES))  # returns when all but a pipe of it was read
    said.stdin.flush()
    current.unlink()
    said.communicate(b"".join(LINES), DEADLINE)
    assert said.returncode == 0
    kept = current.read_bytes().splitlines(keepends=True)
    assert b"is lost" in kept[0]
    assert kept[-1000:] == LINES[-1000:]


def test_a_log_that_grows_loses_its_oldest_part(tmp_path: Path) -> None:
    said = keeper(tmp_path, size=20_000, reads=2)
    said.communicate(b"".join(LINES), DEADLINE)
    names = ["current", *(f"old.{number}" for number in range(1, 10))]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    kept = [(tmp_path / name).read_bytes() for name in reversed(names)]
    assert b"".join(LINES).endswith(b"".join(kept))
    assert all(20_000 <= len(part) < 20_000 + 2 * 8192 for part in kept[:-1])
