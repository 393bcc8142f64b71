"""What an idle mesh costs: CPU over a minute, wakeups and memory (PSS) of every program of the mesh on this machine.

`python benchmarks/idle.py [--seconds 60]`; needs a running mesh (`make up`) and root. Programs are told apart by their
command lines; CPU is utime + stime from /proc/PID/stat, children that ended included. Wakeups are the times that a
thread had waited for something: other programs on the machine change them less than the CPU.
"""

import argparse
import os
import re
import time
from collections import defaultdict
from pathlib import Path

PROGRAMS = {
    "meshd": r"bin/meshd|mesh\.app",
    "meshd's Ray bridge": r"mesh\.fleet\.ray",
    "node agent (Ray actor)": r"ray::.*NodeActor|ray::.*[Aa]gent-",
    "Ray (GCS, raylet, agents)": r"gcs_server|raylet|ray.*agent\.py|ray start|ray_watch|log_monitor",
    "Podman service": r"podman .*system service",
    "netproxy": r"netproxy",
}
TICKS = os.sysconf("SC_CLK_TCK")


def program_of(pid: int) -> str | None:
    """The program that a process of this host belongs to; hosts made of namespaces are hosts of their own."""
    try:
        if Path(f"/proc/{pid}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
            return None
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    return next((name for name, pattern in PROGRAMS.items() if re.search(pattern, line)), None)


def seconds_of(pid: int) -> float:
    """CPU seconds of a process and its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / TICKS


def wakeups_of(pid: int) -> int:
    """How often threads of a process, those that are there, have waited so far."""
    texts = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in texts)


def memory_of(pid: int) -> float:
    """Proportional set size in MiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1]) / 1024  # type: ignore[index]  # always there


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    pids = {int(p.name): program_of(int(p.name)) for p in Path("/proc").iterdir() if p.name.isdigit()}
    pids = {pid: name for pid, name in pids.items() if name and pid != os.getpid()}
    before = {pid: (seconds_of(pid), wakeups_of(pid)) for pid in pids}
    time.sleep(seconds)
    used: dict[str, float] = defaultdict(float)
    woken: dict[str, float] = defaultdict(float)
    memory: dict[str, float] = defaultdict(float)
    for pid, name in pids.items():
        if not Path(f"/proc/{pid}").exists():
            print(f"process {pid} of {name} has ended meanwhile")
            continue
        used[name or ""] += seconds_of(pid) - before[pid][0]
        woken[name or ""] += wakeups_of(pid) - before[pid][1]
        memory[name or ""] += memory_of(pid)
    print(f"{'program':28} {'CPU of a core':>14} {'wakeups':>9} {'memory (PSS)':>14}")
    for name in PROGRAMS:
        print(f"{name:28} {100 * used[name] / seconds:13.2f}% {woken[name] / seconds:7.1f}/s {memory[name]:10.1f} MiB")
    mesh = sum(used[n] for n in ("meshd", "meshd's Ray bridge", "node agent (Ray actor)"))
    print(f"{'meshd + bridge + agent':28} {100 * mesh / seconds:13.2f}%")


if __name__ == "__main__":
    main()
