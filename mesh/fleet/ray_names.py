"""The names by which the mesh knows itself inside Ray, and what every Ray process of ours is told.

Rule: pure; shared by who starts Ray (mesh.supervision), who talks to it (mesh.fleet.ray) and who starts that
(mesh.fleet.bridge).
"""

from pathlib import Path

NAMESPACE = "mesh"
HOST_RESOURCE = "mesh_host"  # 1 on every Ray host that is to run a node agent
ACTOR = "nodeagent.actor:NodeActor"

GCS_PORT = 7430
NODE_MANAGER_PORT = 7431

# Ray's own default of 60 s turns its head into a kill switch: raylets, actors and drivers exit that long after it.
_FOREVER_SECONDS = "2000000000"


def host_resource(node: str) -> str:
    """The resource that pins an agent to `node`: only that host has it."""
    return f"{HOST_RESOURCE}_{node}"


def actor_name(node: str) -> str:
    """Of the node's agent, in the mesh's namespace."""
    return f"agent-{node}"


CERTIFICATE, KEY, AUTHORITY, AUTHORITY_KEY = "node.crt", "node.key", "ca.crt", "ca.key"  # in Ray's own `tls` directory


def client_environment(token: Path, home: Path, tls: Path) -> dict[str, str]:
    """Of every Ray process, drivers too; Ray reads it when it is imported, so it must be there before. `tls`: the
    directory of this host's certificate for Ray."""
    return {
        "HOME": str(home),
        "RAY_USE_TLS": "1",
        "RAY_TLS_CA_CERT": str(tls / AUTHORITY),
        "RAY_TLS_SERVER_CERT": str(tls / CERTIFICATE),
        "RAY_TLS_SERVER_KEY": str(tls / KEY),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": _FOREVER_SECONDS,
        "RAY_enable_metrics_collection": "false",
        "RAY_event_stats": "false",
        "RAY_task_events_report_interval_ms": "0",
        "RAY_BACKEND_LOG_LEVEL": "warning",
        "RAY_ROTATION_MAX_BYTES": "10000000",
        "RAY_ROTATION_BACKUP_COUNT": "2",
    }
