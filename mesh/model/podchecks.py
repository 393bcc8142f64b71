"""What must hold of a pod's spec beyond the rules of single fields (P2, A3, A5, V1, V13, E10).

Rule: pure questions of one spec; every violation is reported by its path.
"""

import re
from collections.abc import Collection, Iterator, Mapping

from mesh.errors import Violation
from mesh.model import configchecks, formats, placementchecks, quantity, restarts, rules, securitychecks
from mesh.model.configchecks import exactly_one
from mesh.model.fields import has
from mesh.model.pods import OWN_RESOURCES, containers, containers_requests, requests_of
from mesh.v1.core_pb2 import (
    Container,
    LifecycleHandler,
    PodSpec,
    Probe,
    ResourceRequirements,
    Volume,
)

_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_HEADER_NAME = re.compile(r"[-A-Za-z0-9!#$%&'*+.^_`|~]+")


def check(spec: PodSpec, path: str, claimed: Collection[str] = ()) -> list[Violation]:
    """Everything wrong with a completed spec (`poddefaults.fill`). `claimed`: volumes that a StatefulSet will add."""
    return [
        *_check_containers(spec, path, claimed),
        *_check_own_resources(spec, f"{path}.resources"),
        *_check_volumes(spec, path),
        *_check_dns(spec, path),
        *securitychecks.check_pod(spec, path),
        *placementchecks.check(spec, path),
        *rules.zero_bytes(spec, path),
    ]


def warnings(spec: PodSpec, path: str) -> list[str]:
    """What is allowed and most likely not meant."""
    said = []
    ports: dict[tuple[int, str], str] = {}
    for index, container in enumerate(spec.containers):
        for number, port in enumerate(container.ports):
            where = f"{path}.containers[{index}].ports[{number}]"
            first = ports.setdefault((port.container_port, port.protocol), where)
            if first != where:
                said.append(f"{where}: the same port as {first}; containers of a pod share one network")
        for name, text in container.resources.limits.items():
            if name == "memory" and text.endswith("m"):
                said.append(f"{path}.containers[{index}].resources.limits.memory: {text} is a fraction of a byte")
    return said


# ---- containers ---------------------------------------------------------------------------------------------------


def _check_containers(spec: PodSpec, path: str, claimed: Collection[str]) -> Iterator[Violation]:
    if not spec.containers:
        yield Violation(f"{path}.containers", "is required: a pod has at least one container")
    names: dict[str, str] = {}
    volumes = {*claimed, *(v.name for v in spec.volumes)}
    every = {c.name for c in containers(spec)}
    for group, found in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for index, container in enumerate(found):
            where = f"{path}.{group}[{index}]"
            first = names.setdefault(container.name, where)
            if first != where and container.name:
                yield Violation(f"{where}.name", f'"{container.name}" is the name of {first} too')
            yield from _check_container(container, volumes, every, where)
            yield from configchecks.check_env_files(container, spec.volumes, where)
            if spec.host_network:
                yield from _check_host_ports(container, where)
            if group == "initContainers" and container.restart_policy != "Always":
                yield from _no_probes(container, where)
                if container.resize_policy:
                    yield Violation(f"{where}.resizePolicy", "is for containers that last: sidecars and containers")
            for number, policy in enumerate(container.resize_policy):
                if policy.restart_policy == "RestartContainer" and spec.restart_policy == "Never":
                    why = 'must be NotRequired: the pod\'s restartPolicy is "Never"'
                    yield Violation(f"{where}.resizePolicy[{number}].restartPolicy", why)


def _check_host_ports(container: Container, path: str) -> Iterator[Violation]:
    """In the host's network a container's port is the host's own (E12); elsewhere the proxy opens any other."""
    for index, port in enumerate(container.ports):
        if port.host_port not in (0, port.container_port):
            where = f"{path}.ports[{index}].hostPort"
            yield Violation(where, f"must be the containerPort {port.container_port} with hostNetwork")


def _check_container(container: Container, volumes: set[str], names: Collection[str], path: str) -> Iterator[Violation]:
    if not container.image.strip():
        yield Violation(f"{path}.image", "is required")
    elif container.image != container.image.strip():
        yield Violation(f"{path}.image", f'must have no space around it, is "{container.image}"')
    yield from _check_ports(container, path)
    yield from configchecks.check_env(container, names, path)
    yield from _check_mounts(container, volumes, path)
    yield from _check_resources(container.resources, f"{path}.resources")
    named = [p.resource_name for p in container.resize_policy]
    for index, name in enumerate(named):
        if name in named[:index]:
            yield Violation(f"{path}.resizePolicy[{index}].resourceName", f'"{name}" is there already')
    yield from securitychecks.check_container(container, path)
    yield from restarts.check_container(container, path)
    for name, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        if has(container, _PROBE_FIELDS[name]):
            yield from _check_probe(name, probe, f"{path}.{name}")
    for name, hook in (("postStart", container.lifecycle.post_start), ("preStop", container.lifecycle.pre_stop)):
        if has(container.lifecycle, _HOOK_FIELDS[name]):
            yield from _check_hook(hook, f"{path}.lifecycle.{name}")


def _check_ports(container: Container, path: str) -> Iterator[Violation]:
    names: dict[str, int] = {}
    numbers: dict[tuple[int, str], int] = {}
    for index, port in enumerate(container.ports):
        where = f"{path}.ports[{index}]"
        if port.name and names.setdefault(port.name, index) != index:
            yield Violation(f"{where}.name", f'"{port.name}" is the name of ports[{names[port.name]}] too')
        key = (port.container_port, port.protocol or "TCP")
        if numbers.setdefault(key, index) != index:
            yield Violation(f"{where}.containerPort", f"{key[0]}/{key[1]} is ports[{numbers[key]}] too")


def _check_mounts(container: Container, volumes: set[str], path: str) -> Iterator[Violation]:
    paths: dict[str, int] = {}
    for index, mount in enumerate(container.volume_mounts):
        where = f"{path}.volumeMounts[{index}]"
        if mount.name and mount.name not in volumes:
            yield Violation(f"{where}.name", f'there is no volume "{mount.name}" in spec.volumes')
        if not mount.mount_path:
            continue
        if not mount.mount_path.startswith("/") or ":" in mount.mount_path:
            yield Violation(f"{where}.mountPath", f'must be an absolute path without ":", is "{mount.mount_path}"')
        if paths.setdefault(mount.mount_path, index) != index:
            first = paths[mount.mount_path]
            yield Violation(f"{where}.mountPath", f'"{mount.mount_path}" is the path of volumeMounts[{first}] too')
        if mount.sub_path and mount.sub_path_expr:
            yield Violation(f"{where}.subPathExpr", "must be absent when subPath is given")
        if mount.mount_propagation == "Bidirectional" and not container.security_context.privileged:
            yield Violation(f"{where}.mountPropagation", 'must not be "Bidirectional" in a container not privileged')
        if mount.recursive_read_only in ("IfPossible", "Enabled"):
            if not mount.read_only:
                yield Violation(f"{where}.recursiveReadOnly", "may only be given with readOnly: true")
            if mount.mount_propagation not in ("", "None"):
                yield Violation(f"{where}.recursiveReadOnly", "may only be given without mountPropagation")


def _check_resources(resources: ResourceRequirements, path: str) -> Iterator[Violation]:
    for group, amounts in (("limits", resources.limits), ("requests", resources.requests)):
        for name in sorted(amounts):
            if name not in _RESOURCES:
                yield Violation(
                    f"{path}.{group}.{name}",
                    "resources other than cpu, memory and ephemeral-storage are not honoured yet",
                )
            elif _read(amounts, name) < quantity.Quantity(0):
                yield Violation(f"{path}.{group}.{name}", f"must not be negative, is {amounts[name]}")
    for name in sorted(resources.requests):
        if name in resources.limits and _read(resources.requests, name) > _read(resources.limits, name):
            limit, request = resources.limits[name], resources.requests[name]
            yield Violation(f"{path}.requests.{name}", f"must be at most the limit {limit}, is {request}")


def _check_own_resources(spec: PodSpec, path: str) -> Iterator[Violation]:
    """Of a pod as a whole: its request holds all that its containers ask for, its limit the limit of each (R3)."""
    own = spec.resources
    for group, amounts in (("limits", own.limits), ("requests", own.requests)):
        for name in sorted(set(amounts) - set(OWN_RESOURCES)):
            yield Violation(f"{path}.{group}.{name}", "a pod as a whole has cpu and memory alone")
    yield from (v for v in _check_resources(own, path) if v.field.rpartition(".")[2] in OWN_RESOURCES)
    for name, amount in containers_requests(spec).items():
        if name in own.requests and requests_of(own)[name] < amount:
            together = quantity.told(name, amount)
            why = f"must be at least what the containers ask for, {together}, is {own.requests[name]}"
            yield Violation(f"{path}.requests.{name}", why)
    for group, found in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for index, container in enumerate(found):
            for name, limit in sorted(container.resources.limits.items()):
                if name in own.limits and _read(own.limits, name) < _read(container.resources.limits, name):
                    where = f"{path.removesuffix('resources')}{group}[{index}].resources.limits.{name}"
                    yield Violation(where, f"must be at most the whole pod's limit {own.limits[name]}, is {limit}")


def _read(amounts: Mapping[str, str], name: str) -> quantity.Quantity:
    try:
        return quantity.parse(amounts[name])
    except ValueError:
        return quantity.Quantity(0)  # the rules report it


# ---- probes -------------------------------------------------------------------------------------------------------

_PROBE_FIELDS = {
    "livenessProbe": "liveness_probe",
    "readinessProbe": "readiness_probe",
    "startupProbe": "startup_probe",
}
_HOOK_FIELDS = {"postStart": "post_start", "preStop": "pre_stop"}
_HOOKS = {"exec": "exec", "httpGet": "http_get", "tcpSocket": "tcp_socket", "sleep": "sleep"}
_ACTIONS = {"exec": "exec", "httpGet": "http_get", "tcpSocket": "tcp_socket", "grpc": "grpc"}


def _check_probe(name: str, probe: Probe, path: str) -> Iterator[Violation]:
    """Row P2."""
    actions = [json for json, field in _ACTIONS.items() if has(probe, field)]
    if len(actions) != 1:
        yield Violation(path, exactly_one("of exec, httpGet, tcpSocket and grpc", actions))
    yield from _check_action(probe, path)
    if name != "readinessProbe" and probe.HasField("success_threshold") and probe.success_threshold not in (0, 1):
        yield Violation(f"{path}.successThreshold", f"must be 1, is {probe.success_threshold}")
    if name == "readinessProbe" and probe.HasField("termination_grace_period_seconds"):
        yield Violation(f"{path}.terminationGracePeriodSeconds", "must be absent in a readinessProbe")


def _check_hook(hook: LifecycleHandler, path: str) -> Iterator[Violation]:
    """Rows L7, L8."""
    actions = [json for json, field in _HOOKS.items() if has(hook, field)]
    if len(actions) != 1:
        yield Violation(path, exactly_one("of exec, httpGet and sleep", actions))
    yield from _check_action(hook, path)


def _check_action(action: Probe | LifecycleHandler, path: str) -> Iterator[Violation]:
    if has(action, "exec") and not action.exec.command:
        yield Violation(f"{path}.exec.command", "is required")
    for name, field, port in (
        ("httpGet", "http_get", action.http_get.port),
        ("tcpSocket", "tcp_socket", action.tcp_socket.port),
    ):
        if not has(action, field):
            continue
        where = f"{path}.{name}.port"
        if port.WhichOneof("kind") == "int_value" and not 0 < port.int_value < 65536:
            yield Violation(where, f"must be between 1 and 65535, is {port.int_value}")
        elif port.string_value and (reason := formats.port_name(port.string_value)):
            yield Violation(where, reason)
    for index, header in enumerate(action.http_get.http_headers):
        if not _HEADER_NAME.fullmatch(header.name):
            yield Violation(f"{path}.httpGet.httpHeaders[{index}].name", f'"{header.name}" is no name of a header')


def _no_probes(container: Container, path: str) -> Iterator[Violation]:
    for json, field in {**_PROBE_FIELDS, "lifecycle": "lifecycle"}.items():
        if has(container, field):
            yield Violation(f"{path}.{json}", "must be absent in an init container")


# ---- volumes ------------------------------------------------------------------------------------------------------


def _check_volumes(spec: PodSpec, path: str) -> Iterator[Violation]:
    names: dict[str, int] = {}
    every = {c.name for c in containers(spec)}
    for index, volume in enumerate(spec.volumes):
        where = f"{path}.volumes[{index}]"
        if volume.name and names.setdefault(volume.name, index) != index:
            yield Violation(f"{where}.name", f'"{volume.name}" is the name of volumes[{names[volume.name]}] too')
        sources = [field.json_name for field, _ in volume.ListFields() if field.name != "name"]
        if len(sources) != 1:
            yield Violation(where, exactly_one("source", sources))
        yield from _check_volume(volume, where)
        yield from configchecks.check_volume(volume, every, where)


def _check_volume(volume: Volume, path: str) -> Iterator[Violation]:
    if ".." in volume.host_path.path.split("/"):
        yield Violation(f"{path}.hostPath.path", f'must not contain a ".." element, is "{volume.host_path.path}"')
    if volume.HasField("image") and not volume.image.reference:
        yield Violation(f"{path}.image.reference", "is required")
    if volume.empty_dir.size_limit and _read({"": volume.empty_dir.size_limit}, "") < quantity.Quantity(0):
        yield Violation(f"{path}.emptyDir.sizeLimit", f"must not be negative, is {volume.empty_dir.size_limit}")


# ---- DNS and placement --------------------------------------------------------------------------------------------


def _check_dns(spec: PodSpec, path: str) -> Iterator[Violation]:
    """Row E10."""
    config, where = spec.dns_config, f"{path}.dnsConfig"
    if spec.dns_policy == "None" and not config.nameservers:
        yield Violation(f"{where}.nameservers", "is required with dnsPolicy None")
    if len(config.nameservers) > 3:
        yield Violation(f"{where}.nameservers", f"must be no more than 3, are {len(config.nameservers)}")
    for index, server in enumerate(config.nameservers):
        if reason := formats.ip(server):
            yield Violation(f"{where}.nameservers[{index}]", reason)
    if len(config.searches) > 32 or sum(len(s) + 1 for s in config.searches) > 2049:
        yield Violation(f"{where}.searches", "must be no more than 32, with 2048 characters in all")
    for index, search in enumerate(config.searches):
        if search != "." and (reason := formats.dns_subdomain(search.removesuffix(".").replace("_", "a"))):
            yield Violation(f"{where}.searches[{index}]", reason)
    for index, alias in enumerate(spec.host_aliases):
        for number, name in enumerate(alias.hostnames):
            if reason := formats.dns_subdomain(name):
                yield Violation(f"{path}.hostAliases[{index}].hostnames[{number}]", reason)
