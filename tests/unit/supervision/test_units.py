"""The units as systemd reads them: by itself where it is there, and by the settings that it knows everywhere."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mesh.supervision import systemd
from mesh.supervision.layout import Layout
from mesh.supervision.programs import Host, programs

KNOWN = {
    "Unit": {"Description", "PartOf", "After", "Wants", "RequiresMountsFor", "StartLimitIntervalSec"},
    "Service": {
        "Environment", "ExecStartPre", "ExecStart", "ExecStop", "Restart", "RestartSec", "UMask", "TasksMax",
        "TimeoutStartSec", "TimeoutStopSec", "KillMode", "Delegate", "Type", "RemainAfterExit", "WatchdogSec",
        "CapabilityBoundingSet",
        "NoNewPrivileges", "PrivateDevices", "ProtectSystem", "ProtectKernelTunables", "ProtectKernelModules",
        "ProtectKernelLogs", "ProtectControlGroups", "ProtectClock", "ProtectHostname", "RestrictNamespaces",
        "RestrictRealtime", "RestrictSUIDSGID", "RestrictAddressFamilies", "LockPersonality",
        "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber", "LoadCredential",
    },
    "Install": {"WantedBy"},
}  # fmt: skip


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    host = Host(Layout(Path("/var/lib/mesh 100%$")), "host1", "192.0.2.1", ("127.0.0.1:7443",), python=Path("/bin/sh"))
    texts = {f"{program.name}.service": systemd.unit(host, program) for program in programs(host)}
    texts[systemd.TARGET], texts[systemd.SHUTDOWN] = systemd.target_unit(host.layout), systemd.shutdown_unit(host)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return sorted(tmp_path.iterdir())


def verified(units: list[Path]) -> str:
    """What is wrong with them, by systemd's own word where it is installed."""
    if not shutil.which("systemd-analyze"):
        return ""
    verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, units)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    return done.stderr if done.returncode else ""


def test_units_have_only_settings_that_systemd_knows(units: list[Path]) -> None:
    assert len(units) >= 6
    for unit in units:
        section = ""
        for line in unit.read_text().splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                assert line.partition("=")[0] in KNOWN[section], (unit.name, line)
    assert verified(units) == ""


def test_programs_come_back_without_a_limit_and_spare_what_they_must(units: list[Path]) -> None:
    texts = {unit.name: unit.read_text() for unit in units}
    for name, text in texts.items():
        if name.endswith(".service") and name != systemd.SHUTDOWN:
            assert "\nRestart=always\n" in text, name
            assert "\nStartLimitIntervalSec=0\n" in text, name
            assert f"\nPartOf={systemd.TARGET}\n" in text, name
    assert "\nKillMode=process\nDelegate=yes\n" in texts["mesh-podman.service"]
    assert "\nKillMode=mixed\n" in texts["meshd.service"]


def test_what_makes_no_containers_is_confined(units: list[Path]) -> None:
    texts = {unit.name: unit.read_text() for unit in units}
    for name in ("meshd.service", "mesh-netproxy.service", "mesh-netproxy-hold.service"):
        assert "\nNoNewPrivileges=yes\n" in texts[name]
        assert "\nAfter=network-online.target mesh-podman.service\n" in texts[name], "which prepares the host"
        assert " prepare " not in texts[name], "its mounts are its own: nobody else would see them"
        assert "CAP_SYS_ADMIN" not in texts[name]
    assert "\nCapabilityBoundingSet=\n" in texts["mesh-netproxy-hold.service"]
    assert "NoNewPrivileges" not in texts["mesh-podman.service"] + texts["mesh-ray.service"]


def test_meshd_is_ready_when_it_says_so_and_ended_when_it_hangs(units: list[Path]) -> None:
    text = next(unit.read_text() for unit in units if unit.name == "meshd.service")
    assert "\nType=notify\nWatchdogSec=60\n" in text


def test_a_slow_machine_has_minutes_for_a_start(units: list[Path]) -> None:
    assert all("\nTimeoutStartSec=300\n" in unit.read_text() for unit in units if "ExecStartPre=" in unit.read_text())


def test_keys_are_handed_over_to_those_who_need_them(units: list[Path]) -> None:
    handed = {unit.name: unit.read_text().split("LoadCredential=")[1:] for unit in units}
    handed = {name: [text.partition("\n")[0] for text in texts] for name, texts in handed.items()}
    root = "/var/lib/mesh 100%%$"
    agent = [f"agent.key:{root}/pki/agent.key"]
    assert {name: keys for name, keys in handed.items() if keys} == {
        "meshd.service": [f"meshd.key:{root}/pki/meshd.key", f"store.key:{root}/keys/store.key"],
        "mesh-ray.service": agent, "mesh-standby.service": agent, "mesh-netproxy-tunnel.service": agent,
    }  # fmt: skip


def test_a_key_that_is_kept_elsewhere_is_left_to_whoever_hands_it_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_systemctl", lambda *_: "")
    host = Host(Layout(tmp_path / "root"), "host1", "192.0.2.1", ("127.0.0.1:7443",), python=Path("/bin/sh"))
    host.layout.pki.mkdir(parents=True)
    host.layout.meshd_key.write_text("")
    (tmp_path / "units").mkdir()
    systemd.Systemd(host.layout, tmp_path / "units").install(host, programs(host))
    text = (tmp_path / "units" / "meshd.service").read_text()
    assert f"\nLoadCredential=meshd.key:{host.layout.meshd_key}\n" in text
    assert "store.key" not in text
