"""How Ray is started on a host: argv and environment of a slim head or worker, as values.

Rules: pure; every number here was measured, docs/adr/0003-ray.md says why. Ray is told never to contact anything
outside, never to kill for memory, never to give up waiting for its head, and to let in only who holds the token.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mesh.fleet.ray_names import GCS_PORT, HOST_RESOURCE, NODE_MANAGER_PORT, client_environment, host_resource
from mesh.supervision.layout import Layout

OBJECT_MANAGER_PORT = 7432
RUNTIME_ENV_AGENT_PORT = 7433
DASHBOARD_AGENT_PORTS = (7434, 7435)  # HTTP, gRPC
METRICS_PORT = 7436
WORKER_PORTS = (7500, 7599)

_SMALLEST_OBJECT_STORE = 78643200  # Ray refuses less; it takes no memory until used


@dataclass(frozen=True, slots=True)
class RayHost:
    """One host's part in Ray; `head` is the address (ip:port) of another host's head, empty to be the head."""

    node_name: str
    node_ip: str
    head: str = ""

    @property
    def address(self) -> str:
        """Where the head is."""
        return self.head or f"{self.node_ip}:{GCS_PORT}"


def environment(layout: Layout, base: Mapping[str, str]) -> dict[str, str]:
    """Of `ray start`; the agent's worker inherits it. `base` gives PATH and locale, nothing else is passed on."""
    return {
        **{key: base[key] for key in ("PATH", "LANG", "LC_ALL", "TZ") if key in base},
        **client_environment(layout.ray_token, layout.ray_home, layout.ray_tls),
        "RAY_START_HOOK": "mesh.supervision.ray_hook.slim",
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(layout.ray_storage),
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # 30 s by default for a `ray start` ended while it starts
        "RAY_worker_niceness": "0",
        "RAY_worker_oom_score_adjustment": "0",
        "RAY_worker_maximum_startup_concurrency": "2",
        "MESH_AGENT_CONFIG": str(layout.agent_config),
        "MESH_AGENT_LOG": str(layout.agent_log),
        "PYTHONUNBUFFERED": "1",
    }


def command(python: Path, layout: Layout, host: RayHost) -> tuple[str, ...]:
    """The argv that starts Ray and stays in the foreground: it becomes the watcher of what it started (ray_hook)."""
    role = (
        ("--head", f"--port={GCS_PORT}", "--include-dashboard=false", "--no-monitor")
        if not host.head
        else (f"--address={host.head}",)
    )
    http, grpc = DASHBOARD_AGENT_PORTS
    return (
        str(python), "-m", "ray.scripts.scripts", "start", *role, "--block",
        f"--node-ip-address={host.node_ip}",
        f"--node-name={host.node_name}",
        f"--resources={json.dumps({HOST_RESOURCE: 1, host_resource(host.node_name): 1})}",
        "--num-cpus=0", "--num-gpus=0",
        f"--object-store-memory={_SMALLEST_OBJECT_STORE}",
        f"--temp-dir={layout.ray_tmp}",
        f"--node-manager-port={NODE_MANAGER_PORT}",
        f"--object-manager-port={OBJECT_MANAGER_PORT}",
        f"--runtime-env-agent-port={RUNTIME_ENV_AGENT_PORT}",
        f"--dashboard-agent-listen-port={http}",
        f"--dashboard-agent-grpc-port={grpc}",
        f"--metrics-export-port={METRICS_PORT}",
        f"--min-worker-port={WORKER_PORTS[0]}",
        f"--max-worker-port={WORKER_PORTS[1]}",
        "--include-log-monitor=false", "--disable-usage-stats", "--log-style=record", "--log-color=false",
    )  # fmt: skip
