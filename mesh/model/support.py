"""THE table of a pod's fields: honoured, approximated (how) or refused (why) by this release.

Rule: a field that is not in the table is refused, and none is accepted and ignored; `tests/unit/model/test_support.py`
holds the table to the proto files. Fields are named by message and JSON name, as in "Container.image".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from mesh.errors import Violation
from mesh.model.fields import Field, Many, fields_of
from mesh.model.poddefaults import SCHEDULER
from mesh.model.rules import join
from mesh.v1.core_pb2 import PodSpec


@dataclass(frozen=True, slots=True)
class Support:
    """What becomes of a field. `why` says how it is approximated or why refused; `accepts` are values that are fine."""

    state: str  # "honoured", "approximated" or "refused"
    why: str = ""
    accepts: Callable[[Any, PodSpec], bool] | None = None


@dataclass(frozen=True, slots=True)
class Values:
    """A condition: the value is one of these."""

    values: tuple[Any, ...]

    def __call__(self, value: Any, spec: PodSpec) -> bool:  # noqa: ARG002 - one signature for all conditions
        """Whether it is."""
        return value in self.values


def _values(*values: Any) -> Values:
    return Values(values)


def _refused(why: str, accepts: Callable[[Any, PodSpec], bool] | None = None) -> Support:
    return Support("refused", why, accepts)


_YES = Support("honoured")
_CLAIMS = _refused("block devices and claims of single pods are not honoured yet: use persistentVolumeClaim")
_SELINUX = Support("approximated", "on hosts with SELinux, volumes are not relabelled; elsewhere the pod fails")
_APPARMOR = Support("approximated", "on hosts with AppArmor; elsewhere the pod fails, as with a kubelet")
_DEVICES = _refused("devices and resource claims are not honoured yet")
_NOT_RECURSIVE = _refused(
    "the hosts' Podman can't make what is mounted below read-only too (it knows no `rro`): use readOnly, or IfPossible",
    _values("Disabled", "IfPossible"),
)
_LATER_VOLUME = _refused(
    "this kind of volume is not honoured yet: "
    "configMap, secret, downwardAPI, projected, emptyDir, hostPath, persistentVolumeClaim and image are"
)

_RELATED = dict.fromkeys(
    ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"), _YES
)

_POD_SPEC: dict[str, Support] = {
    "volumes": _YES,
    "initContainers": _YES,
    "containers": _YES,
    "ephemeralContainers": _refused("ephemeral containers are not honoured yet"),
    "restartPolicy": _YES,
    "terminationGracePeriodSeconds": _YES,
    "activeDeadlineSeconds": _YES,
    "dnsPolicy": _YES,
    "nodeSelector": _YES,
    "serviceAccountName": _YES,
    "serviceAccount": _YES,
    "automountServiceAccountToken": _YES,
    "nodeName": _YES,
    "hostNetwork": _YES,
    "hostPID": _YES,
    "hostIPC": _YES,
    "shareProcessNamespace": _YES,
    "securityContext": _YES,
    "imagePullSecrets": _YES,
    "hostname": _YES,
    "subdomain": _YES,
    "affinity": _YES,
    "schedulerName": _refused(f'the only scheduler is "{SCHEDULER}"', _values(SCHEDULER, "")),
    "tolerations": _YES,
    "hostAliases": _YES,
    "priorityClassName": _YES,
    "priority": _YES,
    "dnsConfig": _YES,
    "readinessGates": _YES,
    "runtimeClassName": _refused("runtime classes are not part of this release"),
    "enableServiceLinks": _YES,
    "preemptionPolicy": _YES,
    "overhead": _refused("overhead belongs to runtime classes, which are not part of this release"),
    "topologySpreadConstraints": _YES,
    "setHostnameAsFQDN": _YES,
    "os": _YES,
    "hostUsers": _refused("user namespaces are not honoured yet", _values(True)),
    "schedulingGates": _YES,
    "resourceClaims": _DEVICES,
    "resources": _YES,
    "hostnameOverride": _YES,
}

_CONTAINER: dict[str, Support] = {
    "name": _YES,
    "image": _YES,
    "command": _YES,
    "args": _YES,
    "workingDir": _YES,
    "ports": _YES,
    "envFrom": _YES,
    "env": _YES,
    "resources": _YES,
    "resizePolicy": _YES,
    "restartPolicy": _YES,
    "restartPolicyRules": _YES,
    "volumeMounts": _YES,
    "volumeDevices": _CLAIMS,
    "livenessProbe": _YES,
    "readinessProbe": _YES,
    "startupProbe": _YES,
    "lifecycle": _YES,
    "terminationMessagePath": _YES,
    "terminationMessagePolicy": _YES,
    "imagePullPolicy": _YES,
    "securityContext": _YES,
    "stdin": _YES,
    "stdinOnce": _YES,
    "tty": _YES,
}

_SECURITY: dict[str, Support] = {
    "capabilities": _YES,
    "privileged": _YES,
    "seLinuxOptions": _SELINUX,
    "runAsUser": _YES,
    "runAsGroup": _YES,
    "runAsNonRoot": _YES,
    "readOnlyRootFilesystem": _YES,
    "allowPrivilegeEscalation": _YES,
    "procMount": _refused("Unmasked needs user namespaces, which are not honoured yet", _values("Default")),
    "seccompProfile": _YES,
    "appArmorProfile": _APPARMOR,
}

_PROBE: dict[str, Support] = {
    "exec": _YES,
    "httpGet": _YES,
    "tcpSocket": _YES,
    "grpc": _YES,
    "initialDelaySeconds": _YES,
    "timeoutSeconds": _YES,
    "periodSeconds": _YES,
    "successThreshold": _YES,
    "failureThreshold": _YES,
    "terminationGracePeriodSeconds": _YES,
    "periodMilliseconds": _YES,  # our own, as is the next: below one second
    "timeoutMilliseconds": _YES,
}

_VOLUME: dict[str, Support] = {
    "name": _YES,
    "hostPath": _YES,
    "emptyDir": _YES,
    "secret": _YES,
    "configMap": _YES,
    "downwardAPI": _YES,
    "projected": _YES,
    "persistentVolumeClaim": _YES,
    "nfs": _LATER_VOLUME,
    "image": _YES,
    "csi": _LATER_VOLUME,
    "ephemeral": _CLAIMS,
}


TABLE: dict[str, dict[str, Support]] = {
    "PodSpec": _POD_SPEC,
    "Container": _CONTAINER,
    "SecurityContext": _SECURITY,
    "PodSecurityContext": {
        **{n: s for n, s in _SECURITY.items() if n in ("runAsUser", "runAsGroup", "runAsNonRoot")},
        "seLinuxOptions": _SELINUX,
        "seccompProfile": _YES,
        "appArmorProfile": _APPARMOR,
        "supplementalGroups": _YES,
        "supplementalGroupsPolicy": _YES,
        "fsGroup": _YES,
        "fsGroupChangePolicy": _YES,
        "sysctls": _YES,
    },
    "ContainerRestartRule": {
        "action": _refused("starting all containers of a pod again is not honoured yet", _values("Restart")),
        "exitCodes": _YES,
    },
    "ContainerRestartRuleOnExitCodes": {"operator": _YES, "values": _YES},
    "SELinuxOptions": dict.fromkeys(("user", "role", "type", "level"), _YES),
    "SeccompProfile": {"type": _YES, "localhostProfile": _YES},
    "AppArmorProfile": {"type": _YES, "localhostProfile": _YES},
    "Sysctl": {"name": _YES, "value": _YES},
    "Probe": _PROBE,
    "ExecAction": {"command": _YES},
    "HTTPGetAction": dict.fromkeys(("path", "port", "host", "scheme", "httpHeaders"), _YES),
    "HTTPHeader": {"name": _YES, "value": _YES},
    "TCPSocketAction": {"port": _YES, "host": _YES},
    "GRPCAction": {"port": _YES, "service": _YES},
    "Lifecycle": {"postStart": _YES, "preStop": _YES, "stopSignal": _YES},
    "LifecycleHandler": {
        "exec": _YES,
        "httpGet": _YES,
        "tcpSocket": _refused("hooks over TCP do nothing in Kubernetes either; use exec, httpGet or sleep"),
        "sleep": _YES,
    },
    "SleepAction": {"seconds": _YES},
    "Capabilities": {"add": _YES, "drop": _YES},
    "ContainerPort": {
        "name": _YES,
        "hostPort": _YES,
        "containerPort": _YES,
        "protocol": _YES,
        "hostIP": _YES,
    },
    "EnvVar": {"name": _YES, "value": _YES, "valueFrom": _YES},
    "EnvVarSource": {
        "fieldRef": _YES,
        "resourceFieldRef": _YES,
        "configMapKeyRef": _YES,
        "secretKeyRef": _YES,
        "fileKeyRef": _YES,
    },
    "ObjectFieldSelector": {"apiVersion": _refused('the only version is "v1"', _values("v1", "")), "fieldPath": _YES},
    "ContainerResizePolicy": {"resourceName": _YES, "restartPolicy": _YES},
    "ResourceRequirements": {"limits": _YES, "requests": _YES, "claims": _DEVICES},
    "VolumeMount": {
        "name": _YES,
        "readOnly": _YES,
        "recursiveReadOnly": _NOT_RECURSIVE,
        "mountPath": _YES,
        "subPath": _YES,
        "mountPropagation": _YES,
        "subPathExpr": _YES,
    },
    "EnvFromSource": {"prefix": _YES, "configMapRef": _YES, "secretRef": _YES},
    "ConfigMapEnvSource": {"name": _YES, "optional": _YES},
    "SecretEnvSource": {"name": _YES, "optional": _YES},
    "FileKeySelector": dict.fromkeys(("volumeName", "path", "key", "optional"), _YES),
    "SecretKeySelector": {"name": _YES, "key": _YES, "optional": _YES},
    "SecretVolumeSource": {"secretName": _YES, "items": _YES, "defaultMode": _YES, "optional": _YES},
    "SecretProjection": {"name": _YES, "items": _YES, "optional": _YES},
    "LocalObjectReference": {"name": _YES},
    "ConfigMapKeySelector": {"name": _YES, "key": _YES, "optional": _YES},
    "ResourceFieldSelector": {"containerName": _YES, "resource": _YES, "divisor": _YES},
    "KeyToPath": {"key": _YES, "path": _YES, "mode": _YES},
    "ConfigMapVolumeSource": {"name": _YES, "items": _YES, "defaultMode": _YES, "optional": _YES},
    "DownwardAPIVolumeSource": {"items": _YES, "defaultMode": _YES},
    "DownwardAPIVolumeFile": {"path": _YES, "fieldRef": _YES, "resourceFieldRef": _YES, "mode": _YES},
    "ProjectedVolumeSource": {"sources": _YES, "defaultMode": _YES},
    "VolumeProjection": {
        "secret": _YES,
        "downwardAPI": _YES,
        "configMap": _YES,
        "serviceAccountToken": _YES,
    },
    "ServiceAccountTokenProjection": dict.fromkeys(("audience", "expirationSeconds", "path"), _YES),
    "ConfigMapProjection": {"name": _YES, "items": _YES, "optional": _YES},
    "DownwardAPIProjection": {"items": _YES},
    "Volume": _VOLUME,
    "ImageVolumeSource": {"reference": _YES, "pullPolicy": _YES},
    "EmptyDirVolumeSource": {"medium": _YES, "sizeLimit": _YES},
    "PersistentVolumeClaimVolumeSource": {"claimName": _YES, "readOnly": _YES},
    "HostPathVolumeSource": {"path": _YES, "type": _YES},
    "Affinity": {"nodeAffinity": _YES, "podAffinity": _YES, "podAntiAffinity": _YES},
    "PodAffinity": _RELATED,
    "PodAntiAffinity": _RELATED,
    "WeightedPodAffinityTerm": {"weight": _YES, "podAffinityTerm": _YES},
    "PodAffinityTerm": dict.fromkeys(
        ("labelSelector", "namespaces", "topologyKey", "namespaceSelector", "matchLabelKeys", "mismatchLabelKeys"), _YES
    ),
    "LabelSelector": {"matchLabels": _YES, "matchExpressions": _YES},
    "LabelSelectorRequirement": {"key": _YES, "operator": _YES, "values": _YES},
    "TopologySpreadConstraint": {
        "maxSkew": _YES,
        "topologyKey": _YES,
        "whenUnsatisfiable": _YES,
        "labelSelector": _YES,
        "minDomains": _YES,
        "nodeAffinityPolicy": _YES,
        "matchLabelKeys": _YES,
        "nodeTaintsPolicy": _YES,
    },
    "PodSchedulingGate": {"name": _YES},
    "NodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": _YES,
        "preferredDuringSchedulingIgnoredDuringExecution": _YES,
    },
    "NodeSelector": {"nodeSelectorTerms": _YES},
    "NodeSelectorTerm": {"matchExpressions": _YES, "matchFields": _YES},
    "NodeSelectorRequirement": {"key": _YES, "operator": _YES, "values": _YES},
    "PreferredSchedulingTerm": {"weight": _YES, "preference": _YES},
    "Toleration": {
        "key": _YES,
        "operator": _YES,
        "value": _YES,
        "effect": _YES,
        "tolerationSeconds": _YES,
    },
    "HostAlias": {"ip": _YES, "hostnames": _YES},
    "PodDNSConfig": {"nameservers": _YES, "searches": _YES, "options": _YES},
    "PodDNSConfigOption": {"name": _YES, "value": _YES},
    "PodReadinessGate": {"conditionType": _YES},
    "PodOS": {"name": _YES},
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What becomes of one field as it is set: `state` and `why` as in Support, with values that are fine honoured."""

    field: str
    state: str
    why: str = ""


def check(spec: PodSpec, path: str) -> tuple[list[Violation], list[str]]:
    """What of a pod's spec this release refuses, by name, and warnings for what it approximates.

    To be asked of what the user wrote, before defaults are filled in.
    """
    wrong: list[Violation] = []
    warnings: list[str] = []
    for found in findings(spec, path):
        if found.state == "refused":
            wrong.append(Violation(found.field, found.why))
        elif found.state == "approximated":
            warnings.append(f"{found.field}: {found.why}")
    return wrong, warnings


def findings(spec: PodSpec, path: str) -> Iterator[Finding]:
    """Every field that is set, as `check`; of what is honoured, the innermost fields alone."""
    return _found(spec, spec, path)


_UNLISTED = _refused("this field is not honoured yet")


def _found(message: Message, spec: PodSpec, path: str) -> Iterator[Finding]:
    table = TABLE.get(message.DESCRIPTOR.name, {})
    for field in fields_of(message.DESCRIPTOR).values():
        value = getattr(message, field.name)
        if not (value if field.many is not Many.ONE else message.HasField(field.name)):
            continue
        where = join(path, field.json)
        support = table.get(field.json, _UNLISTED)
        fine = support.state == "honoured" or bool(support.accepts and support.accepts(value, spec))
        if not fine:
            yield Finding(where, support.state, support.why)
        below = list(_below(field, value, spec, where)) if support.state != "refused" else []
        if fine and not below:
            yield Finding(where, "honoured")
        yield from below


def _below(field: Field, value: Any, spec: PodSpec, path: str) -> Iterator[Finding]:
    if field.type is None:
        return
    if field.many is Many.LIST:
        for index, element in enumerate(value):
            yield from _found(element, spec, f"{path}[{index}]")
    elif field.many is Many.ONE:
        yield from _found(value, spec, path)
