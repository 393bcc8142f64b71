"""Ingress manifests in few words, for tests."""

EXACT, PREFIX = "Exact", "Prefix"


def path(text: str, kind: str, service: str) -> str:
    """A path that leads to a Service's port 8080."""
    where = f"path: '{text}', " if text else ""
    return f"{{{where}pathType: {kind}, backend: {{service: {{name: {service}, port: {{number: 8080}}}}}}}}"


def ingress(*rules: str, name: str = "web", more: str = "", annotations: str = "{}") -> str:
    """An Ingress; `more` goes on with its spec."""
    return f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, annotations: {annotations}}}
spec: {{rules: [{", ".join(rules)}]{more}}}
"""


def rule(host: str, *paths: str) -> str:
    """The paths of one host, "" for all."""
    said = f"host: '{host}', " if host else ""
    return f"{{{said}http: {{paths: [{', '.join(paths)}]}}}}"


def default(service: str) -> str:
    """The default backend."""
    return f"defaultBackend: {{service: {{name: {service}, port: {{name: http}}}}}}"
