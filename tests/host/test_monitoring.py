"""What is shipped for Prometheus, held to Debian's own: configuration, rules that fire and clear, every layer read."""

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh import pki
from mesh.exposition.web import Files
from mesh.fleet.port import AgentPort
from mesh.meshd import Settings
from tests.harness.agents import World
from tests.harness.control import control, test_pki
from tests.harness.figures import write_pki
from tests.harness.ports import free_ports

pytestmark = pytest.mark.host

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "ansible" / "monitoring"
DEADLINE = 120.0
NOW = int(time.time())
NODES = ("node1", "node2", "node3")


@pytest.fixture(scope="module")
def programs() -> Path:
    """Where prometheus and promtool are."""
    into = Path(sys.prefix) / "prometheus"
    subprocess.run([ROOT / "tools" / "unpack.sh", "prometheus", "promtool", into], check=True, timeout=110)
    return into / "usr" / "bin"


def promtool(programs: Path, *arguments: str | Path) -> str:
    done = subprocess.run([programs / "promtool", *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configured(directory: Path, meshd: str) -> Path:
    """The shipped files, with what a role fills in."""
    certs = test_pki()
    write_pki(directory, certs.ca, "prometheus", pki.issue(certs.ca, pki.user("prometheus", (pki.MONITORS,)), NOW))
    (directory / "mesh-rules.yml").write_text((SHIPPED / "mesh-rules.yml").read_text())
    text = (
        (SHIPPED / "prometheus.yml").read_text().replace("MESHD:7445", meshd).replace("15s", "1s").replace("30s", "1s")
    )
    (directory / "prometheus.yml").write_text(text)
    return directory / "prometheus.yml"


def test_the_configuration_is_right(programs: Path, tmp_path: Path) -> None:
    assert "SUCCESS" in promtool(programs, "check", "config", configured(tmp_path, "192.0.2.1:7445"))


def test_the_tests_that_are_shipped_with_the_rules_pass(programs: Path) -> None:
    promtool(programs, "test", "rules", SHIPPED / "mesh-rules-test.yml")
    rules = {r["alert"] for g in yaml.safe_load((SHIPPED / "mesh-rules.yml").read_text())["groups"] for r in g["rules"]}
    fires, clears = set(), set()
    for test in yaml.safe_load((SHIPPED / "mesh-rules-test.yml").read_text())["tests"]:
        for moment in test["alert_rule_test"]:
            (fires if moment["exp_alerts"] else clears).add(moment["alertname"])
    assert fires == clears == rules


def test_dashboards_ask_what_prometheus_understands(programs: Path, tmp_path: Path) -> None:
    files = sorted((SHIPPED / "grafana").glob("*.json"))
    assert [f.stem for f in files] == ["applications", "cluster", "containers", "hosts", "ingress"]
    asked = [t["expr"] for f in files for panel in json.loads(f.read_text())["panels"] for t in panel["targets"]]
    records = [{"record": f"asked:{i}", "expr": re.sub(r"\$\w+", ".*", expr)} for i, expr in enumerate(asked)]
    rules = tmp_path / "asked.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": records}]}))
    promtool(programs, "check", "rules", rules)


async def test_a_stock_prometheus_scrapes_three_hosts(programs: Path, tmp_path: Path) -> None:
    certs, (meshd, own, *ports) = test_pki(), free_ports(2 + len(NODES))
    write_pki(tmp_path / "meshd", certs.ca, "meshd", certs.server)
    files = Files(*(tmp_path / "meshd" / name for name in ("ca.crt", "meshd.crt", "meshd.key")))
    worlds = {node: a_host(tmp_path / node, node, port) for node, port in zip(NODES, ports, strict=True)}
    agents: dict[str, AgentPort] = {node: await world.start() for node, world in worlds.items()}
    settings = Settings(metrics_listen=(f"127.0.0.1:{meshd}",), files=files)
    async with control(agents=agents, settings=settings):
        config = configured(tmp_path, f"127.0.0.1:{meshd}")
        where = f"127.0.0.1:{own}"
        process = await asyncio.create_subprocess_exec(
            programs / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address={where}", "--log.level=error", stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            up = await asked(where, "up", lambda found: len(found) == 5 and all(v == 1 for v in found.values()))
            assert {job for job, _ in up} == {"mesh-hosts", "mesh-meshd", "mesh-cluster"}
            for name in ("node_load1", "machine_cpu_cores", "kubelet_node_name"):
                found = await asked(where, name, lambda found: len(found) == len(NODES))
                assert {node for _, node in found} == set(NODES), name
            for name in ("mesh_store_revision", "kube_node_info"):
                assert await asked(where, name, bool), name
        finally:
            process.terminate()
            await process.wait()
    for world in worlds.values():
        await world.kill()


def a_host(root: Path, node: str, port: int) -> World:
    """One whose agent tells figures at this port."""
    certs = test_pki()
    write_pki(root / "pki", certs.ca, "agent", pki.issue(certs.ca, pki.node(node), NOW))
    world = World(root)
    world.config = replace(world.config, node_name=node, node_ip="127.0.0.1", metrics_listen=f"127.0.0.1:{port}")
    return world


async def asked(where: str, query: str, enough: Callable[[Any], bool]) -> dict[tuple[str, str], float]:
    """Values by job and node, once there are enough of them: Prometheus tells nobody when it has scraped."""
    found: dict[tuple[str, str], float] = {}
    async with asyncio.timeout(DEADLINE):
        while not enough(found):
            try:
                answer = await asyncio.to_thread(urllib.request.urlopen, f"http://{where}/api/v1/query?query={query}")
            except OSError:  # it is just beginning
                await asyncio.sleep(0.1)
                continue
            with answer:
                result = json.load(answer)["data"]["result"]
            found = {(r["metric"].get("job", ""), r["metric"].get("node", "")): float(r["value"][1]) for r in result}
            await asyncio.sleep(0.1)
    return found
