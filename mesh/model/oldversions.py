"""Manifests of API versions that Kubernetes has retired, rewritten to the version in force, with a warning.

Rule: works on plain values before they are read, never mutates them, and says what it changed.
"""

from collections.abc import Mapping
from typing import Any

from mesh.model.kinds import Kind

_WORKLOADS = ("Deployment", "DaemonSet", "ReplicaSet", "StatefulSet")


def convert(kind: Kind, value: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The value in the kind's own version, and warnings; the value itself when it is in that version."""
    version = value["apiVersion"]
    if version == kind.api_version:
        return value, []
    warnings = [f"{version} is converted to {kind.api_version}; write that version instead"]
    result: dict[str, Any] = {**value, "apiVersion": kind.api_version}
    spec = value.get("spec")
    if isinstance(spec, dict):
        if kind.name in _WORKLOADS:
            result["spec"] = _workload(spec, warnings)
        elif kind.name == "Ingress":
            result["spec"] = _ingress(spec, warnings)
        elif kind.name == "HorizontalPodAutoscaler":
            result["spec"] = _autoscaler(spec, warnings)
    return result, warnings


def _workload(spec: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    result = dict(spec)
    gone = [n for n in ("rollbackTo", "templateGeneration") if result.pop(n, None) is not None]
    warnings += [f"spec.{name} is no more and was left out" for name in gone]
    if not result.get("selector"):
        labels = _at(spec, "template", "metadata", "labels")
        if isinstance(labels, dict) and labels:
            result["selector"] = {"matchLabels": labels}
            warnings.append("spec.selector was absent and is the template's labels")
    return result


def _ingress(spec: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    result = dict(spec)
    if "backend" in result and "defaultBackend" not in result:
        result["defaultBackend"] = _backend(result.pop("backend"), warnings)
    if isinstance(result.get("rules"), list):
        result["rules"] = [_ingress_rule(r, warnings) for r in result["rules"]]
    return result


def _ingress_rule(rule: Any, warnings: list[str]) -> Any:
    paths = _at(rule, "http", "paths")
    if not isinstance(paths, list):
        return rule
    return {**rule, "http": {**rule["http"], "paths": [_ingress_path(p, warnings) for p in paths]}}


def _ingress_path(path: Any, warnings: list[str]) -> Any:
    if not isinstance(path, dict):
        return path
    result = dict(path)
    if not result.get("pathType"):
        result["pathType"] = "ImplementationSpecific"
        _once(warnings, "a missing pathType became ImplementationSpecific")
    if "backend" in result:
        result["backend"] = _backend(result["backend"], warnings)
    return result


def _backend(backend: Any, warnings: list[str]) -> Any:
    if not isinstance(backend, dict) or not ({"serviceName", "servicePort"} & backend.keys()):
        return backend
    result = {k: v for k, v in backend.items() if k not in ("serviceName", "servicePort")}
    service: dict[str, Any] = {}
    if backend.get("serviceName") is not None:
        service["name"] = backend["serviceName"]
    if (port := backend.get("servicePort")) is not None:
        service["port"] = {"name": port} if isinstance(port, str) else {"number": port}
    _once(warnings, "serviceName and servicePort became service.name and service.port")
    return {**result, "service": service}


def _autoscaler(spec: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    result = dict(spec)
    target = result.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}
        result["metrics"] = [{"type": "Resource", "resource": metric}]
        warnings.append("targetCPUUtilizationPercentage became a metric of the resource cpu")
    return result


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _once(warnings: list[str], warning: str) -> None:
    if warning not in warnings:
        warnings.append(warning)
