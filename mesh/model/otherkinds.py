"""Kinds that people bring from Kubernetes and that a mesh does not have: why, or what does their work here.

Rule: pure; whoever names a kind that is not here is told so in one sentence, with a way to go on.
"""

import difflib
from collections.abc import Iterable

_NO_CSI = "volumes are directories of hosts, without CSI drivers; `mesh explain persistentvolume` tells which"
_NO_HOOKS = "the mesh checks objects itself and calls no webhooks"
_NO_OTHERS = "kinds can't be added to a mesh"
_NO_QUOTA = "namespaces have no limits of their own; say requests and limits in the pods"
_ROUTES = "routes are not honoured yet, an Ingress is: `mesh explain ingress`"
_SCRAPED = 'pods with the annotation prometheus.io/scrape: "true" are measured (docs/metrics.md)'

_WHY: dict[str, str] = {
    "APIService": _NO_OTHERS,
    "CSIDriver": _NO_CSI,
    "CSINode": _NO_CSI,
    "CertificateSigningRequest": "`mesh token create` lets users and hosts in, `mesh certs` shows their certificates",
    "ClusterRole": "view, edit, admin and cluster-admin are built in, bound by "
    "`mesh create rolebinding NAME --clusterrole=edit --user=NAME`; others are Roles of a namespace",
    "ClusterRoleBinding": "a RoleBinding holds in its namespace; "
    "in all of them hold the groups mesh:viewers, mesh:editors and mesh:admins of a certificate",
    "ComponentStatus": "`mesh status` tells how the service and its hosts are",
    "CustomResourceDefinition": _NO_OTHERS,
    "Gateway": _ROUTES,
    "GatewayClass": _ROUTES,
    "HTTPRoute": _ROUTES,
    "Kustomization": "`kustomize build DIRECTORY | mesh apply -f -` applies what it makes",
    "Lease": "leases are the mesh's own affair and no objects",
    "LimitRange": _NO_QUOTA,
    "MutatingWebhookConfiguration": _NO_HOOKS,
    "NetworkPolicy": "policies are not honoured yet; every pod reaches every other",
    "PodMonitor": _SCRAPED,
    "PodSecurityPolicy": "what a pod may is said in its securityContext: `mesh explain pod.spec.securityContext`",
    "PodTemplate": "a template is a part of its workload: `mesh explain deployment.spec.template`",
    "ResourceQuota": _NO_QUOTA,
    "RuntimeClass": "all containers run by the one runtime of their host",
    "ServiceMonitor": _SCRAPED,
    "StorageClass": 'claims know "local", directories of hosts, and "", volumes that you made (docs/manifests.md)',
    "ValidatingAdmissionPolicy": _NO_HOOKS,
    "ValidatingWebhookConfiguration": _NO_HOOKS,
    "VolumeAttachment": _NO_CSI,
    "VolumeSnapshot": _NO_CSI,
}
_SHORT = {"cs": "ComponentStatus", "crd": "CustomResourceDefinition", "crds": "CustomResourceDefinition",
          "csr": "CertificateSigningRequest", "limits": "LimitRange", "netpol": "NetworkPolicy",
          "psp": "PodSecurityPolicy", "quota": "ResourceQuota", "sc": "StorageClass"}  # fmt: skip


def _plural(name: str) -> str:
    if name.endswith("y"):
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "ss")) else f"{name}s"


_BY_WORD = {word.lower(): name for name in _WHY for word in (name, _plural(name))} | _SHORT


def missing(word: str, known: Iterable[str]) -> str:
    """The sentence for a kind that is not among the known ones: why, or which one was probably meant."""
    said = f'there is no kind "{word}"'
    if name := _BY_WORD.get(word.lower()):
        return f"{said}: {_WHY[name]}"
    by_lower = {k.lower(): k for k in known}
    plain = word.lower().replace("_", "").replace("-", "")
    if near := difflib.get_close_matches(plain, by_lower, n=1):
        return f'{said}; did you mean "{by_lower[near[0]]}"?'
    return f"{said}; `mesh api-resources` lists the kinds"
