"""What the supervisors and Ray are told, as texts."""

import json
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.supervision import ray_start, toml
from mesh.supervision.layout import LONGEST_ROOT, Layout
from mesh.supervision.programs import Host, programs
from mesh.supervision.ray_start import RayHost
from mesh.supervision.runit import run_script
from mesh.supervision.systemd import shutdown_unit, unit

HOST = Host(Layout(Path("/var/lib/mesh")), "host1", "10.0.0.1", ("127.0.0.1:7443",), python=Path("/opt/py/bin/python"))


def option(argv: tuple[str, ...], name: str) -> str:
    (value,) = [word.partition("=")[2] for word in argv if word.startswith(f"{name}=")]
    return value


def test_the_head_and_a_further_host() -> None:
    head = ray_start.command(Path("/p"), HOST.layout, RayHost("host1", "10.0.0.1"))
    other = ray_start.command(Path("/p"), HOST.layout, RayHost("host2", "10.0.0.2", "10.0.0.1:7430"))
    assert "--head" in head
    assert option(head, "--port") == "7430"
    assert option(other, "--address") == "10.0.0.1:7430"
    assert "--head" not in other
    assert json.loads(option(other, "--resources")) == {"mesh_host": 1, "mesh_host_host2": 1}


def test_ray_knows_its_token_by_a_file_and_waits_for_ever() -> None:
    environment = ray_start.environment(HOST.layout, {"PATH": "/bin", "RAY_ADDRESS": "elsewhere"})
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == "/var/lib/mesh/ray/token"
    assert environment["RAY_gcs_rpc_server_reconnect_timeout_s"] == "2000000000"
    assert environment["HOME"] == "/var/lib/mesh/ray/home"
    assert "RAY_ADDRESS" not in environment


def test_the_longest_root_still_holds_rays_sockets() -> None:
    socket = Layout(Path("/" + "x" * (LONGEST_ROOT - 1))).ray_tmp / "session_2000-01-01_00-00-00_000000_4194304"
    assert len(str(socket / "sockets" / "plasma_store.99")) == 107


def test_a_joined_host_has_no_control_service() -> None:
    names = [program.name for program in programs(replace(HOST, join="10.0.0.9:7430", has_meshd=False))]
    proxy = ["mesh-netproxy-hold", "mesh-netproxy-tunnel", "mesh-netproxy"]
    assert names == ["mesh-podman", "mesh-ray", *proxy, "mesh-standby"]
    here = [program.name for program in programs(HOST)]
    assert here == ["mesh-podman", "mesh-ray", "meshd", *proxy, "mesh-standby"]


@pytest.mark.parametrize("root", ["/var/lib/mesh", "/srv/a mesh's"])
def test_a_run_script_quotes_what_it_is_given(root: str) -> None:
    host = replace(HOST, layout=Layout(Path(root)))
    meshd = programs(host)[2]
    last = run_script(host, meshd).splitlines()[-1]
    words = shlex.split(last)
    assert words[:3] == ["exec", "env", "-i"]
    assert tuple(words[-len(meshd.argv) :]) == meshd.argv


def test_ray_starts_once_it_is_known_where_its_head_is() -> None:
    ray = programs(HOST)[1]
    lines = run_script(HOST, ray).splitlines()
    asks = shlex.split(lines[-2])
    assert asks[-6:] == ["-m", "mesh.supervision.headplace", "/var/lib/mesh", "||", "exit", "1"]
    first, second, start = (line for line in unit(HOST, ray).splitlines() if line.startswith("ExecStart"))
    assert "nodeagent" in first
    assert "mesh.supervision.headplace" in second
    assert second.startswith("ExecStartPre=+")
    assert start.startswith("ExecStart=")


def test_units_restart_for_ever_and_spare_containers() -> None:
    podman, ray, *_ = programs(HOST)
    text = unit(HOST, podman)
    assert "KillMode=process\n" in text
    assert "Delegate=yes\n" in text
    assert "Restart=always\n" in text
    assert "StartLimitIntervalSec=0\n" in text
    assert "KillMode=mixed\n" in unit(HOST, ray)
    assert "flock /var/lib/mesh/.prepare.lock /bin/sh -c" in text
    assert "mountpoint -q /var/lib/mesh/run || exec" in text


def test_units_escape_what_systemd_would_expand() -> None:
    host = replace(HOST, node_name="a%b$c")
    assert "a%%b$$c" in unit(host, programs(host)[1])


def test_no_unit_holds_a_secret() -> None:
    for program in programs(HOST):
        words = " ".join([*program.argv, *program.environment.values()])
        assert "PRIVATE" not in words
        assert "token=" not in words.lower()


def test_toml_keeps_what_a_user_has_added() -> None:
    text = toml.merged('a = 1\nmine = "x"\n[t]\nb = true\nkept = ["y"]\n', {"a": 2, "t": {"b": False}}, "# h\n")
    assert text.startswith("# h\n")
    assert tomllib.loads(text) == {"a": 2, "mine": "x", "t": {"b": False, "kept": ["y"]}}


def test_toml_survives_odd_texts() -> None:
    values = {"text": 'a "quoted" \\ back\u00e9\nline', "list": ["x", "y"], "number": 3}
    assert tomllib.loads(toml.dump(values)) == values


def test_pods_end_before_the_programs_when_the_host_shuts_down() -> None:  # L19
    text = shutdown_unit(HOST)
    after = next(line for line in text.splitlines() if line.startswith("After="))
    assert all(f"{program.name}.service" in after for program in programs(HOST))  # what starts later is stopped earlier
    assert '"shutdown"' in text and '"--if-stopping"' in text
    assert "PartOf=" not in text  # stopping the mesh ends no pod
