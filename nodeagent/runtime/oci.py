"""The OCI runtime below Podman: which one works here, the wrapper that Podman calls, and exec into a container.

Rules: it is chosen by running a real container, never by its version; crun is preferred (half of runc's CPU), runc is
the fallback, and why is written down. Its state directory is on tmpfs, because crun copies every container's
environment there.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nodeagent.kept import made
from nodeagent.runtime import cgroups, syscalls
from nodeagent.runtime.places import Places
from nodeagent.wholefile import write_whole

PREFERENCE = ("crun", "runc")

# Podman calls this in place of the runtime. What stands for secrets in a container's configuration is put in its place
# here, in a copy on a tmpfs, so that neither Podman nor a command line ever knows it; so are the groups of a process
# that wants none of the image's, which Podman always adds. Before a container's cgroup is
# deleted, the kernel's count of OOM kills is put aside: Podman's own flag is always false, and the agent may be away;
# only by builtins of the shell, so it costs no process. crun keeps the cgroup's path in "status", runc in "state.json".
WRAPPER = """#!/bin/sh
case " $* " in *" create "*)
  for id; do :; done
  if [ -e "{veiled}/$id" ]; then
    umask 077
    count=$# before=
    while [ "$count" -gt 0 ]; do
      word=$1 count=$((count - 1))
      shift
      if [ "$before" = --bundle ]; then
        mkdir -p "{unveiled}/$id/userdata" || exit 1
        sed -f "{veiled}/$id" "$word/config.json" >"{unveiled}/$id/userdata/config.json" || exit 1
        set -- "$@" "{unveiled}/$id/userdata"
      else
        set -- "$@" "$word"
      fi
      before=$word
    done
  fi;;
*" delete "*)
  for id; do :; done
  cgroup=
  if [ -r "{state}/$id/status" ]; then
    while read -r key value; do
      case $key in '"cgroup-path":') cgroup=${{value#*\\"}}; cgroup={memory}${{cgroup%%\\"*}};; esac
    done <"{state}/$id/status"
  elif [ -r "{state}/$id/state.json" ]; then
    read -r text <"{state}/$id/state.json"
    cgroup=${{text#*\\"cgroup_paths\\":}}
    case $cgroup in *'"{key}":"'*) cgroup=${{cgroup#*\\"{key}\\":\\"}}; cgroup=${{cgroup%%\\"*}};; esac
  fi
  if [ -r "$cgroup/{counter}" ]; then
    while read -r key value; do
      [ "$key" = oom_kill ] && [ "$value" != 0 ] && echo "$value" >"{oom}/$id"
    done <"$cgroup/{counter}"
  fi;;
esac
exec {runtime} "$@"
"""


# Podman calls this in place of conmon: it has no word of its own for input that outlives a client (stdinOnce: false).
MONITOR = """#!/bin/sh
before=
for word; do
  if [ "$before" = -c ] && [ -e "{stdin}/$word" ]; then set -- --leave-stdin-open "$@"; break; fi
  before=$word
done
exec {conmon} "$@"
"""
MONITORS = "/usr/libexec/podman:/usr/local/libexec/podman:/usr/local/lib/podman:/usr/bin:/usr/sbin:/usr/local/bin"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What preflight found; kept in run/runtime.json for the agent, `mesh doctor` and people."""

    name: str
    binary: str
    state: str
    why: str
    cgroup_version: int
    cgroup_manager: str = "cgroupfs"  # or "disabled": containers stay in the group of who started the mesh
    systemd: bool = False

    @property
    def argv(self) -> list[str]:
        """The beginning of every command line of it."""
        return _argv(self.binary, Path(self.state), self.cgroup_manager != "disabled")

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Chosen":
        """Reads what `save` wrote; raises FileNotFoundError before `prepare`."""
        return made(cls, json.loads(path.read_text()))


def write_wrapper(chosen: Chosen, places: Places) -> Path:
    """Writes the script named after the runtime that Podman shall call, and returns its path."""
    unified = chosen.cgroup_version == 2
    text = WRAPPER.format(
        runtime=shlex.join(chosen.argv), state=chosen.state, oom=places.oom, veiled=places.veiled,
        unveiled=places.unveiled, memory=cgroups.ROOT if unified else cgroups.ROOT / "memory",
        key="" if unified else "memory", counter="memory.events" if unified else "memory.oom_control",
    )  # fmt: skip
    path = places.bin / chosen.name
    path.write_text(text)
    path.chmod(0o700)
    return path


def write_monitor(places: Places) -> Path | None:
    """Writes the script that Podman shall call in place of conmon; None where conmon is not found."""
    conmon = shutil.which("conmon", path=MONITORS)
    if conmon is None:
        return None
    path = places.bin / "conmon"
    path.write_text(MONITOR.format(stdin=places.stdin, conmon=conmon))
    path.chmod(0o700)
    return path


def veil(places: Places, container_id: str, values: Mapping[str, str], groups: Sequence[int] | None = None) -> None:
    """Says what the stand-ins in a container's configuration stand for, for the wrapper, before its start. `groups`
    are those that its process has and no others, whatever Podman found in the image; None: what Podman says."""
    lines = [f"s/{word}/{_replacement(value)}/g\n" for word, value in values.items()]
    if groups is not None:
        lines.append(f's/"additionalGids":\\[[0-9,]*\\]/"additionalGids":{json.dumps(list(groups))}/\n')
    path = places.veiled / container_id
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(lines)


def _replacement(value: str) -> str:
    """A value inside a JSON text, as the right side of sed's substitution."""
    return re.sub(r"[\\/&]", r"\\\g<0>", json.dumps(value)[1:-1])


def forget_secrets(places: Places, container_id: str) -> None:
    """Removes what `veil` and the wrapper wrote for a container."""
    (places.veiled / container_id).unlink(missing_ok=True)
    shutil.rmtree(places.unveiled / container_id, ignore_errors=True)


def configuration(places: Places, container_id: str) -> Path:
    """The configuration that the OCI runtime was given for a container."""
    unveiled = places.unveiled / container_id / "userdata" / "config.json"
    return unveiled if unveiled.exists() else places.bundles / container_id / "userdata" / "config.json"


def _argv(binary: str, state: Path, own_groups: bool) -> list[str]:
    return [binary, "--root", str(state), *(() if own_groups else ("--cgroup-manager=disabled",))]


def choose(wanted: str, state: Path, scratch: Path, own_groups: bool = True) -> Chosen:
    """Runs a trivial container with limits under each runtime, in order of preference, and takes the first that works.

    `wanted` is "auto" or a runtime's name; without `own_groups` no control group is made, which crun alone can do.
    Raises RuntimeError with every runtime's own words when none works.
    """
    failures: list[str] = []
    manager = "cgroupfs" if own_groups else "disabled"
    preference = PREFERENCE if own_groups else ("crun",)
    for name in preference if wanted == "auto" else (wanted,):
        binary = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/bin")
        failure = f"{name} is not installed" if binary is None else try_out(binary, scratch, own_groups)
        if binary is not None and not failure:
            why = "; ".join([*failures, f"{name} ran a container {'with' if own_groups else 'without'} limits"])
            systemd = Path("/run/systemd/system").exists()
            return Chosen(name, binary, str(state), why, cgroups.version(), manager, systemd)
        failures.append(failure)
    raise RuntimeError("cannot run a container with any OCI runtime: " + "; ".join(failures))


def try_out(binary: str, scratch: Path, own_groups: bool = True) -> str:
    """Runs `true` in a container of `binary`; an empty answer means that it worked, else the runtime's words."""
    bundle = scratch / f"preflight-{os.getpid()}"
    name = f"mesh-preflight-{os.getpid()}"
    (bundle / "rootfs").mkdir(parents=True, mode=0o700, exist_ok=True)
    cgroup = f"/mesh/{name}"
    (bundle / "config.json").write_text(json.dumps(_trivial(cgroup)))
    runtime = _argv(binary, bundle / "state", own_groups)
    command = [*runtime, "run", "--bundle", str(bundle), name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        )
        words = " ".join((done.stderr or done.stdout).split())
        return "" if done.returncode == 0 else f"{Path(binary).name} failed: {words or f'exit code {done.returncode}'}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{Path(binary).name} failed: {error}"
    finally:
        subprocess.run([*runtime, "delete", "--force", name], capture_output=True, timeout=30, check=False)
        cgroups.remove(cgroup)
        shutil.rmtree(bundle, ignore_errors=True)


def free_cgroup_v2(root: Path = cgroups.ROOT) -> list[str]:
    """Under the hybrid layout, mounts controllers that were left on v2 as v1 hierarchies, as systemd does, because crun
    refuses to run beside them. Returns the directories mounted, for `unprepare`; none where there is nothing to do."""
    mounted: list[str] = []
    if cgroups.version(root) == 2:
        return mounted
    for controller in cgroups.stray_controllers(root):
        directory = root / controller
        directory.mkdir(exist_ok=True)
        if not (directory / "cgroup.procs").exists():
            syscalls.mount(controller, str(directory), "cgroup", 0, controller)
            mounted.append(str(directory))
    return mounted


def exec_argv(chosen: Chosen, configuration: Path, process: Path) -> list[str]:
    """The argv that runs the process described in `process` (see `exec_process`) in a running container, whose bundle's
    configuration is given."""
    return [*chosen.argv, "exec", "--process", str(process), configuration.parents[1].name]


def exec_process(configuration: Path, directory: Path, command: Sequence[str], *, tty: bool) -> Path:
    """Writes what to run: the container's own process (user, groups, capabilities, environment, directory) with another
    command. Left to its flags, crun would run it as root. The same command has the same file; see `forget_exec`.

    Raises FileNotFoundError when there is no such container.
    """
    process = json.loads(configuration.read_text())["process"]
    text = json.dumps({**process, "args": list(command), "terminal": tty})
    container_id = configuration.parents[1].name
    path = directory / f"{container_id}.{hashlib.blake2s(text.encode(), digest_size=8).hexdigest()}.json"
    if not path.exists():
        write_whole(path, text.encode())
    return path


def forget_exec(directory: Path, container_id: str) -> None:
    """Removes what `exec_process` wrote for a container."""
    for path in directory.glob(f"{container_id}.*"):
        path.unlink(missing_ok=True)


def delete(chosen: Chosen, container_id: str) -> None:
    """Ends and forgets a container that Podman no longer knows; blocking."""
    command = [*chosen.argv, "delete", "--force", container_id]
    subprocess.run(command, capture_output=True, timeout=30, check=False)


def _trivial(cgroup: str) -> dict[str, object]:
    system = [p for p in ("/usr", "/bin", "/lib", "/lib64") if Path(p).exists()]
    binds = [{"destination": p, "type": "bind", "source": p, "options": ["rbind", "ro"]} for p in system]
    kernel = [{"destination": f"/{t}", "type": k, "source": k} for t, k in (("proc", "proc"), ("dev", "tmpfs"))]
    return {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [*kernel, *binds],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 64}, "cpu": {"shares": 100}},
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "network", "ipc", "uts")],
        },
    }
