"""In which order programs are restarted."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from mesh.supervision import up
from mesh.supervision.layout import Layout
from mesh.supervision.port import Status
from mesh.supervision.programs import Host, Program

HOST = Host(Layout(Path("/nowhere")), "host1", "10.0.0.1", ("127.0.0.1:7443",))


class Recorder:
    """A supervisor of programs that all run and whose units have all changed."""

    kind = "recorder"

    def __init__(self) -> None:
        self.names: list[str] = []
        self.restarted: list[str] = []

    def install(self, host: Host, programs: Sequence[Program]) -> set[str]:
        self.names = [program.name for program in programs]
        return set(self.names)

    def start(self, names: Iterable[str]) -> None:
        assert set(names) == set(self.names)

    def restart(self, names: Iterable[str]) -> None:
        self.restarted += names

    def stop(self, names: Iterable[str]) -> None: ...

    def status(self) -> list[Status]:
        return [Status(name, running=True) for name in ("meshd", "mesh-netproxy", "mesh-netproxy-hold")]

    def uninstall(self) -> None: ...

    def logs(self, name: str) -> str:
        return name


def test_what_keeps_sockets_is_restarted_once_they_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, asked = Recorder(), []

    def answers(address: str, _seconds: float = 1.0) -> bool:
        asked.append((address, list(supervisor.restarted)))
        return True

    monkeypatch.setattr("mesh.supervision.machine.answers", answers)
    done = up.start(HOST, supervisor, set(), lambda _: None)
    assert supervisor.restarted == ["meshd", "mesh-netproxy", "mesh-netproxy-hold"]
    proxy = str(HOST.layout.netproxy_socket)
    assert (proxy, ["meshd", "mesh-netproxy"]) in asked, "the proxy answers before its keeper ends"
    assert "restarted meshd" in done
    assert "started mesh-podman" in done
