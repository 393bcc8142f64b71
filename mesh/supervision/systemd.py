"""systemd as the supervisor: a service each, all part of mesh.target; logs go to the journal.

Rules: Restart=always without a limit; only what is ours is touched, known by the first line of each unit file. What
makes no containers is confined to what it needs; it has mounts of its own for that, so what it mounted the others would
not see: it never prepares the host, and starts after who does.
"""

import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mesh.supervision.layout import Layout
from mesh.supervision.port import Failed, Status
from mesh.supervision.programs import PREPARES, Host, Program, base_environment, is_prepared, prepare_once

UNITS = Path("/etc/systemd/system")
TARGET = "mesh.target"
SHUTDOWN = "mesh-shutdown.service"
SHUTDOWN_SECONDS = 900  # the longest that a host may wait for its pods
# As many open files as the machine grants: LimitNOFILE= would fail where it grants fewer than we ask for.
_WITH_ALL_FILES = ("/bin/sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh")
_START_SECONDS = 300  # systemd's own 90 end a start on a slow machine again and again
_ALIVE_SECONDS = 60  # a program that says that it is alive is ended when it has not for so long
# What a confined program can't do: it writes in /var, /run and /tmp alone, makes no namespace, sees no device.
_CONFINED = (
    "NoNewPrivileges=yes",
    "ProtectSystem=full",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "PrivateDevices=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
)
_MARK = "# Written by `mesh up` for {root}; changes are lost.\n"


def unit(host: Host, program: Program) -> str:
    """The text of a program's unit file."""
    confined = program.capabilities is not None
    prepared = is_prepared(host) if confined else prepare_once(host)
    lines = [
        "[Unit]",
        f"Description={program.title}",
        f"PartOf={TARGET}",
        f"After=network-online.target{f' {PREPARES}.service' if confined else ''}",
        "Wants=network-online.target",
        f'RequiresMountsFor="{_escape(str(host.layout.root))}"',
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *(f'Environment="{_escape(f"{key}={value}")}"' for key, value in sorted(program.environment.items())),
        f"ExecStartPre=+{_command(('/bin/sh', '-c', prepared))}",  # +: without what confines it, but for its mounts
        *((f"ExecStartPre=+{_command(program.first)}",) if program.first else ()),
        f"ExecStart={_command((*_WITH_ALL_FILES, *program.argv))}",
        *(f"LoadCredential={key.name}:{str(key).replace('%', '%%')}" for key in program.keys),
        "Restart=always",
        "RestartSec=500ms",
        "UMask=0077",
        "TasksMax=infinity",
        f"TimeoutStartSec={_START_SECONDS}",
        "TimeoutStopSec=12",
        # Containers' monitors live in the cgroup of the Podman service: systemd must neither end nor count them.
        *(("KillMode=process", "Delegate=yes") if program.spares_children else ("KillMode=mixed",)),
        *(("Type=notify", f"WatchdogSec={_ALIVE_SECONDS}") if program.notifies else ()),
        *(_confinement(program.capabilities) if program.capabilities is not None else ()),
        "",
        "[Install]",
        f"WantedBy={TARGET}",
    ]
    return _MARK.format(root=host.layout.root) + "\n".join(lines) + "\n"


def _with_keys_that_are(program: Program) -> Program:
    """systemd starts no unit whose credential's file is missing: it may be handed over from elsewhere."""
    return replace(program, keys=tuple(key for key in program.keys if key.exists()))


def _confinement(capabilities: Sequence[str]) -> tuple[str, ...]:
    return (*_CONFINED, f"CapabilityBoundingSet={' '.join(capabilities)}")


def target_unit(layout: Layout) -> str:
    """The text of the target that stands for the whole mesh."""
    return (
        _MARK.format(root=layout.root)
        + "[Unit]\nDescription=The mesh on this host\n\n[Install]\nWantedBy=multi-user.target\n"
    )


def shutdown_unit(host: Host) -> str:
    """The text of the unit that ends pods before the programs when this host shuts down (L19), and at no other time:
    what is started after something else is stopped before it."""
    command = (str(host.python), "-m", "nodeagent", "shutdown", "--config", str(host.layout.agent_config))
    lines = [
        "[Unit]",
        "Description=Graceful end of the mesh's pods when this host shuts down",
        "After=mesh-podman.service mesh-ray.service meshd.service mesh-netproxy-hold.service"
        " mesh-netproxy-tunnel.service mesh-netproxy.service mesh-standby.service network-online.target",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        *(f'Environment="{_escape(f"{key}={value}")}"' for key, value in sorted(base_environment().items())),
        "ExecStart=/bin/true",
        f"ExecStop=-{_command((*command, '--if-stopping'))}",
        f"TimeoutStopSec={SHUTDOWN_SECONDS}",
        "",
        "[Install]",
        f"WantedBy={TARGET}",
    ]
    return _MARK.format(root=host.layout.root) + "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _command(argv: Sequence[str]) -> str:
    return " ".join('"' + _escape(part).replace("$", "$$") + '"' for part in argv)


class Systemd:
    """The supervisor of the machine; there is one mesh per machine under systemd."""

    kind = "systemd"

    def __init__(self, layout: Layout, units: Path = UNITS) -> None:
        self._layout = layout
        self._units = units

    def install(self, host: Host, programs: Sequence[Program]) -> set[str]:
        texts = {f"{program.name}.service": unit(host, _with_keys_that_are(program)) for program in programs}
        texts[TARGET], texts[SHUTDOWN] = target_unit(self._layout), shutdown_unit(host)
        for path in self._ours():
            if path.name not in texts:
                _systemctl("disable", "--now", path.name)
                path.unlink()
        changed = {name for name, text in texts.items() if self._write(name, text)}
        if changed:
            _systemctl("daemon-reload")
        return {program.name for program in programs if f"{program.name}.service" in changed}

    def start(self, names: Iterable[str]) -> None:
        units = [f"{name}.service" for name in names]
        _systemctl("enable", "--quiet", TARGET, SHUTDOWN, *units)
        _systemctl("start", "--no-block", TARGET, SHUTDOWN, *units)

    def restart(self, names: Iterable[str]) -> None:
        for name in names:
            _systemctl("restart", f"{name}.service")

    def stop(self, names: Iterable[str]) -> None:
        for name in names:
            _systemctl("disable", "--quiet", "--now", f"{name}.service")

    def status(self) -> list[Status]:
        return [self._status(path.stem) for path in self._ours() if path.name not in (TARGET, SHUTDOWN)]

    def uninstall(self) -> None:
        ours = self._ours()
        for path in ours:
            _systemctl("disable", "--quiet", "--now", path.name)
        for path in ours:
            path.unlink()
        if ours:
            _systemctl("daemon-reload")
            subprocess.run(["systemctl", "reset-failed", *(p.name for p in ours)], capture_output=True, check=False)

    def logs(self, name: str) -> str:
        return f"journalctl -u {name} -f"

    def _ours(self) -> list[Path]:
        mark = _MARK.format(root=self._layout.root)
        candidates = [*self._units.glob("mesh*.service"), *self._units.glob(TARGET)]
        return sorted(path for path in candidates if path.is_file() and path.read_text().startswith(mark))

    def _write(self, name: str, text: str) -> bool:
        path = self._units / name
        if path.is_file() and path.read_text() == text:
            return False
        if path.exists() and path not in self._ours():
            raise Failed(f"{path} is there and not ours: move it away, or use the root that it names")
        fresh = path.with_name(f".{name}.new")
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(path)
        return True

    def _status(self, name: str) -> Status:
        shown = _systemctl(
            "show", f"{name}.service", "--property=MainPID,ActiveState,SubState,StateChangeTimestampMonotonic"
        )
        values = dict(line.partition("=")[::2] for line in shown.splitlines())
        since = time.clock_gettime(time.CLOCK_MONOTONIC) - int(values["StateChangeTimestampMonotonic"] or 0) / 1e6
        running = values["ActiveState"] == "active"
        words = "" if running else f"{values['ActiveState']} ({values['SubState']})"
        return Status(name, running, int(values["MainPID"]), max(0.0, since), words)


def _systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"systemctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
