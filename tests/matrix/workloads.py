"""What runs on the stage: servers that answer with their names, behind a Service, and a StatefulSet with a Secret's
file; spread over the hosts."""

import json
from typing import Any

from tests.harness.pythonpod import python_pod
from tests.matrix.witness import STAGE

ADDRESS, REPLICAS = "10.96.0.80", 6
DATABASE = "db"
_SERVICE = {"clusterIP": ADDRESS, "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}


def manifests() -> str:
    """All of it, as YAML documents."""
    secret = {"name": "login", "secret": {"secretName": "login"}}
    database = _workload("StatefulSet", DATABASE, 3)
    spec = database["spec"]["template"]["spec"]
    spec["volumes"].append(secret)
    spec["containers"][0]["volumeMounts"].append({"name": "login", "mountPath": "/login"})
    database["spec"] |= {"serviceName": DATABASE, "podManagementPolicy": "Parallel"}
    told: list[dict[str, Any]] = [
        _object("v1", "Service", "web", spec=_SERVICE),
        _object("v1", "Service", DATABASE, spec={"clusterIP": "None", "selector": {"app": DATABASE}}),
        _object("v1", "Secret", "login", stringData={"password": "tiger"}),
        _object("v1", "ConfigMap", "settings", data={"color": "blue"}),
        _workload("Deployment", "web", REPLICAS),
        database,
    ]
    return "\n---\n".join(json.dumps(one) for one in told)


def _workload(kind: str, name: str, replicas: int) -> dict[str, Any]:
    """Servers, as many on each host as on any other."""
    labels = {"app": name, STAGE: "yes"}
    spread = {
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": "Honor", "labelSelector": {"matchLabels": {"app": name}},
    }  # fmt: skip
    pod = json.loads(
        python_pod(name, "http_server.py", "8080", "$(POD)", ports=(8080,), topologySpreadConstraints=[spread])
    )
    pod["spec"]["containers"][0]["env"] = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    template = {"metadata": {"labels": labels}, "spec": {**pod["spec"], "terminationGracePeriodSeconds": 2}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return _object("apps/v1", kind, name, spec=spec)


def _object(version: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}
