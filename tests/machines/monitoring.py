"""The playbook `monitoring` on hosts of a mesh: Debian's Prometheus reads every host and all four layers.

Rule: Prometheus is configured by the collection alone, and asked on its own host, as a user would.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.machines.lab import Failed, Lab

HERE = "127.0.0.1:9090"
PATIENCE = 180.0
TELLER = Path(__file__).parent / "teller.yaml"  # pods that tell figures of their own
# A name of each layer; each must come from every host.
LAYERS: Mapping[str, str] = {
    "host": "node_load1",
    "container": 'count by (node) (container_memory_working_set_bytes{container!=""})',
    "application": "guests_total",
    "cluster": 'count by (node) (kube_node_status_condition{condition="Ready",status="true"})',
    "what agents do not tell": "node_uname_info",
}
FILES = (
    "/etc/prometheus/mesh/prometheus.yml", "/etc/prometheus/mesh/mesh-rules.yml", "/var/lib/prometheus/mesh/config",
    "/var/lib/prometheus/mesh/pki/mesh/user.key", "/var/lib/prometheus/mesh/pki/mesh/user.crt",
)  # fmt: skip


def scraped(lab: Lab, hosts: Sequence[str]) -> None:
    """Raises Failed unless everything is read, and none of the files can be read by others."""
    control = hosts[0]
    lab.podman("cp", str(TELLER), f"{control}:/tmp/teller.yaml")
    lab.ssh(control, "mesh", "apply", "-f", "/tmp/teller.yaml")
    lab.ssh(control, "rm", "/tmp/teller.yaml")
    jobs = {"mesh-meshd": 1, "mesh-cluster": 1, "mesh-hosts": len(hosts), "node-exporter": len(hosts)}
    ask(lab, control, "count by (job) (up == 1)", lambda found: found == jobs, "job")
    for layer, query in LAYERS.items():
        ask(lab, control, query, lambda found: found.keys() >= set(hosts), "node")
        print(f"  read from {len(hosts)} hosts: {layer}")
    for line in lab.ssh(control, "stat", "--format", "'%U %a %n'", *FILES).splitlines():
        if not line.startswith("prometheus 600 "):
            raise Failed(f"not so: only Prometheus can read its files, but {line}")
    lab.ssh(control, "systemctl", "start", "mesh-monitoring-identity.service")
    lab.ssh(control, "mesh", "delete", "daemonset", "teller")


def ask(lab: Lab, host: str, query: str, enough: Callable[[Mapping[str, float]], bool], label: str) -> None:
    """Until Prometheus has enough: it tells nobody when it has scraped."""
    script = "import sys, urllib.parse, urllib.request as r; " + (
        f"print(r.urlopen('http://{HERE}/api/v1/query?query=' + urllib.parse.quote(sys.stdin.read())).read().decode())"
    )
    end = time.monotonic() + PATIENCE
    found: Mapping[str, float] = {}
    while not enough(found):
        if time.monotonic() > end:
            raise Failed(f"not within {PATIENCE:.0f} s: {query} is {found}")
        time.sleep(2)
        result = json.loads(lab.ssh(host, "python3", "-c", f'"{script}"', told=query))["data"]["result"]
        found = {r["metric"].get(label, ""): float(r["value"][1]) for r in result}
