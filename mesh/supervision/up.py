"""Brings the mesh up on this host, and down again.

Rules: every step may be repeated; what runs and is as it should be is left alone. A step that fails says in one
sentence what is wrong and what to do; what was done before it stays, and the next run goes on from there.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Set
from pathlib import Path

from mesh.errors import Forbidden, Unavailable
from mesh.fleet import rayhead
from mesh.supervision import machine, setup
from mesh.supervision.layout import Layout
from mesh.supervision.port import Supervisor, systemd_runs
from mesh.supervision.programs import Host, Program, prepare, programs
from mesh.supervision.runit import Runit
from mesh.supervision.setup import Told
from mesh.supervision.systemd import Systemd

Say = Callable[[str], None]
_END_SECONDS = 10.0
_READY_SECONDS = 300.0  # a busy or emulated machine takes a minute and more for what takes seconds elsewhere


def supervisor_of(layout: Layout) -> Supervisor:
    """systemd where the machine runs it, else runit."""
    return Systemd(layout) if systemd_runs() else Runit(layout)


def require_root() -> None:
    """Raises Forbidden for anyone else."""
    if os.geteuid() != 0:
        raise Forbidden(
            "cannot change this host: run it as root (sudo), or begin a mesh of your own by `mesh up --ephemeral`"
        )


def require_machine(host: Host) -> None:
    """Raises Unavailable naming what must be installed or freed."""
    if lacking := machine.missing():
        packages = " ".join(dict.fromkeys(need.package for need in lacking))
        names = ", ".join(" or ".join(need.commands) for need in lacking)
        raise Unavailable(f"this machine lacks {names}: apt-get install -y {packages}")
    if not machine.has_address(host.node_ip):
        raise Unavailable(f"this machine does not have the address {host.node_ip}: choose one with --node-ip")


def require_head(host: Host, seconds: float = 15.0) -> frozenset[Path]:
    """Raises Unavailable where this host joins others and can't reach Ray's head within so many seconds (it may just be
    started again), Forbidden where that is not the mesh's own. Returns the files that were written for it."""
    if not host.join:
        return frozenset()
    changed = frozenset(setup.ray_certificate(host, int(time.time())))
    until = time.monotonic() + seconds
    while True:
        try:
            rayhead.prove(host.join, host.layout.ray_tls, 3.0)
        except Unavailable as error:
            if time.monotonic() < until:
                time.sleep(0.5)
                continue
            raise Unavailable(
                f"cannot reach Ray's head: {error.message}; is the mesh up there, and is port "
                f"{host.join.rpartition(':')[2]} open to this host?"
            ) from error
        return changed


def require_ports(host: Host, running: Iterable[str]) -> None:
    """Raises Unavailable naming a port that somebody else has."""
    ours = set(running)
    wanted: dict[str, str] = {}
    if "mesh-ray" not in ours:
        wanted |= machine.ray_ports(host.node_ip, head=not host.join)
    if "meshd" not in ours and host.has_meshd:
        wanted |= {"meshd": host.listen[0], "meshd's tokens": setup.for_tokens(host.listen[0])}
    for what, address in wanted.items():
        if machine.taken(address):
            raise Unavailable(
                f"{address}, for {what}, is taken: `ss -ltnp | grep {address.rpartition(':')[2]}` says by whom"
            )


def write_files(host: Host) -> set[Path]:
    """Everything below the root that programs read; returns the paths that changed."""
    setup.directories(host.layout)
    changed = setup.token(host.layout)
    changed |= setup.ray_certificate(host, int(time.time()))
    if host.has_meshd:
        changed |= setup.certificates(host, int(time.time()))
        setup.store_key(host.layout)
    return changed | setup.configurations(host)


def prepare_host(host: Host) -> str:
    """Makes the host ready for pods; returns what was found, in words."""
    argv = ["flock", str(host.layout.prepare_lock), *prepare(host)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it did not say why"]
        raise Unavailable(lines[-1].removeprefix("Error: "))
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def start(host: Host, supervisor: Supervisor, changed: Set[Path], say: Say) -> list[str]:
    """Starts what does not run, restarts what was told something new, waits until all are ready. The host takes pods
    again. Returns in words what was done."""
    host.layout.shutdown.unlink(missing_ok=True)
    wanted = programs(host)
    done = []
    running = {status.name for status in supervisor.status() if status.running}
    stale = supervisor.install(host, wanted) | {p.name for p in wanted if changed & set(p.reads)}
    for keeps in (False, True):
        for program in (p for p in wanted if p.keeps == keeps):
            if program.name in running & stale:
                say(f"restarting {program.name}")
                supervisor.restart([program.name])
                done.append(f"restarted {program.name}")
        supervisor.start([program.name for program in wanted])
        for program in wanted:
            say(f"waiting for {program.name}")
            _await(program, supervisor)
    return done + [f"started {program.name}" for program in wanted if program.name not in running]


def _await(program: Program, supervisor: Supervisor) -> None:
    until = time.monotonic() + _READY_SECONDS
    address = setup.reachable(program.ready.address)
    while not machine.answers(address):
        if time.monotonic() > until:
            raise Unavailable(f"{program.name} does not come up: see `{supervisor.logs(program.name)}`")
        time.sleep(0.1)  # a socket that is not there yet tells nobody when it is


def drain(host: Host, seconds: int, say: Say) -> None:
    """Ends the pods of this host gracefully, critical ones last (L19); none are taken until the next `mesh up`."""
    say(f"ending pods, {seconds} s at most")
    command = ["shutdown", "--config", str(host.layout.agent_config), "--seconds", str(seconds)]
    argv = [str(host.python), "-m", "nodeagent", *command, "--critical", str(seconds // 3)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise Unavailable("the pods of this host did not all end in time: run it again, or without --drain")


def stop(host: Host, supervisor: Supervisor, say: Say) -> None:
    """Ends the programs, last started first; containers keep running."""
    installed = {status.name for status in supervisor.status()}
    for program in reversed(programs(host)):
        if program.name in installed:
            say(f"stopping {program.name}")
            supervisor.stop([program.name])
    _end_ingress(host.layout.ingress)


def _end_ingress(directory: Path) -> None:
    """Ends the HAProxy that netproxy has started: it would live on without it."""
    try:
        pid = int((directory / "haproxy.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if str(directory / "haproxy.cfg").encode() not in words:
            return
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return
    until = time.monotonic() + _END_SECONDS
    while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < until:
        time.sleep(0.05)  # no child of ours: nobody tells when it has gone


def purge(host: Host, told: Told, supervisor: Supervisor, say: Say) -> None:
    """Leaves the machine as it was: programs, containers, mounts, bridge, units, state and context are gone."""
    stop(host, supervisor, say)
    say("removing units")
    supervisor.uninstall()
    say("removing containers, mounts, routes and the bridge")
    _undo(host, "what was made for pods", "nodeagent", "unprepare", "--config", str(host.layout.agent_config))
    _undo(host, "the routes to Services", "netproxy.forget")
    setup.forget_context(told)
    say("removing files")
    remove_root(host.layout.root)


def _undo(host: Host, what: str, module: str, *arguments: str) -> None:
    undo = [str(host.python), "-m", module, *arguments]
    done = subprocess.run(undo, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it did not say why"]
        raise Unavailable(f"cannot undo {what}: {lines[-1]}")


def remove_root(root: Path) -> None:
    """Removes everything of ours; refuses while anything is mounted below it."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    below = [mount for mount in mounts if mount == str(root) or mount.startswith(f"{root}/")]
    if str(root) in below:  # a file system of its own: emptied, not removed
        below.remove(str(root))
    if below:
        raise Unavailable(f"{below[0]} is still mounted: umount it, then run this again")
    for entry in root.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != "install.json":
            entry.unlink()
    (root / "install.json").unlink(missing_ok=True)  # last: while it is there, this can be run again
    if str(root) not in mounts:
        root.rmdir()
