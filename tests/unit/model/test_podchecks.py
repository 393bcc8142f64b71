"""What must hold of a pod's spec as a whole, at its very bounds (P2, A3, A5, E5, E10, V1, V13)."""

import pytest

from mesh.model import fieldpaths, manifest, podchecks, poddefaults
from mesh.model.rules import check
from mesh.v1.core_pb2 import Pod


def wrong(spec: str) -> dict[str, str]:
    """What is wrong with a spec in YAML's flow style; `[C]` stands for a container that is fine."""
    spec = spec.replace("[C]", "[{name: c, image: i}]")
    pod = manifest.load(f"{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{{spec}}}}}", "a").objects[0]
    assert isinstance(pod, Pod)
    poddefaults.fill(pod.spec)
    assert check(pod) == []
    return {v.field: v.reason for v in podchecks.check(pod.spec, "spec")}


def in_container(more: str) -> dict[str, str]:
    return wrong(f"containers: [{{name: c, image: i, {more}}}], volumes: [{{name: v}}]")


HTTP = "httpGet: {port: 80}"


@pytest.mark.parametrize(
    ("probe", "field"),
    [
        (f"livenessProbe: {{{HTTP}}}", ""),
        (f"livenessProbe: {{{HTTP}, successThreshold: 1}}", ""),
        (f"livenessProbe: {{{HTTP}, successThreshold: 2}}", "livenessProbe.successThreshold"),
        (f"startupProbe: {{{HTTP}, successThreshold: 2}}", "startupProbe.successThreshold"),
        (f"readinessProbe: {{{HTTP}, successThreshold: 2}}", ""),
        (f"livenessProbe: {{{HTTP}, terminationGracePeriodSeconds: 1}}", ""),
        (
            f"readinessProbe: {{{HTTP}, terminationGracePeriodSeconds: 1}}",
            "readinessProbe.terminationGracePeriodSeconds",
        ),
        ("livenessProbe: {}", "livenessProbe"),
        (f"livenessProbe: {{{HTTP}, grpc: {{port: 1}}}}", "livenessProbe"),
        ("startupProbe: {exec: {command: [a]}, tcpSocket: {port: a}}", "startupProbe"),
        ("livenessProbe: {exec: {command: []}}", "livenessProbe.exec.command"),
        ("livenessProbe: {httpGet: {port: 0}}", "livenessProbe.httpGet.port"),
        ("livenessProbe: {tcpSocket: {port: 65536}}", "livenessProbe.tcpSocket.port"),
        ("livenessProbe: {tcpSocket: {port: Not_A_Name}}", "livenessProbe.tcpSocket.port"),
        (
            "livenessProbe: {httpGet: {port: 80, httpHeaders: [{name: 'a b'}]}}",
            "livenessProbe.httpGet.httpHeaders[0].name",
        ),
        ("lifecycle: {preStop: {sleep: {seconds: 1}}}", ""),
        ("lifecycle: {preStop: {}}", "lifecycle.preStop"),
        ("lifecycle: {postStart: {exec: {command: [a]}, sleep: {seconds: 1}}}", "lifecycle.postStart"),
        ("lifecycle: {postStart: {httpGet: {port: 70000}}}", "lifecycle.postStart.httpGet.port"),
    ],
)
def test_probes(probe: str, field: str) -> None:
    assert list(in_container(probe)) == ([f"spec.containers[0].{field}"] if field else [])  # (P2)


def test_init_containers_have_no_probes_but_sidecars_do() -> None:
    init = f"name: i, image: i, livenessProbe: {{{HTTP}}}, lifecycle: {{}}"
    assert list(wrong(f"initContainers: [{{{init}}}], containers: [C]")) == [
        "spec.initContainers[0].livenessProbe",
        "spec.initContainers[0].lifecycle",
    ]
    assert wrong(f"initContainers: [{{{init}, restartPolicy: Always}}], containers: [C]") == {}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("ports: [{containerPort: 1}, {containerPort: 65535}]", ""),
        ("ports: [{containerPort: 53}, {containerPort: 53, protocol: UDP}]", ""),
        ("ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: UDP}]", "ports[1].containerPort"),
        ("env: [{name: A, value: x}, {name: A, value: z}]", ""),  # the later one wins (E3)
        ("env: [{name: A, valueFrom: {}}]", "env[0].valueFrom"),
        ("volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /b}]", ""),
        ("volumeMounts: [{name: v, mountPath: '/a:b'}]", "volumeMounts[0].mountPath"),
        ("resources: {limits: {cpu: 1}, requests: {cpu: 1000m}}", ""),
        ("resources: {limits: {cpu: 1}, requests: {cpu: 1001m}}", "resources.requests.cpu"),
        ("resources: {requests: {ephemeral-storage: 1Gi}, limits: {ephemeral-storage: 2Gi}}", ""),
        (
            "resources: {requests: {ephemeral-storage: 3Gi}, limits: {ephemeral-storage: 2Gi}}",
            "resources.requests.ephemeral-storage",
        ),
        ("resources: {requests: {hugepages-2Mi: 4Mi}}", "resources.requests.hugepages-2Mi"),
        ("resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]", ""),
        (
            "resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired},"
            " {resourceName: cpu, restartPolicy: NotRequired}]",
            "resizePolicy[1].resourceName",
        ),
        ("securityContext: {allowPrivilegeEscalation: false}", ""),
        (
            "securityContext: {allowPrivilegeEscalation: false, privileged: true}",
            "securityContext.allowPrivilegeEscalation",
        ),
        (
            "securityContext: {allowPrivilegeEscalation: false, capabilities: {add: [CAP_SYS_ADMIN]}}",
            "securityContext.allowPrivilegeEscalation",
        ),
    ],
)
def test_containers(more: str, field: str) -> None:
    assert list(in_container(more)) == ([f"spec.containers[0].{field}"] if field else [])


@pytest.mark.parametrize(
    ("path", "fine"),
    [
        *[(p, True) for p in fieldpaths.OF_ENVIRONMENT],
        ("metadata.labels['a']", True),
        ("metadata.annotations['example.com/a']", True),
        ("metadata.labels['-']", False),
        ("metadata.labels", False),
        ("metadata.labels[a]", False),
        ("spec.hostname", False),
        ("status.phase", False),
    ],
)
def test_what_a_variable_may_refer_to(path: str, fine: bool) -> None:
    found = in_container(f'env: [{{name: A, valueFrom: {{fieldRef: {{fieldPath: "{path}"}}}}}}]')
    assert (found == {}) is fine  # (E5)


def servers(count: int) -> str:
    return ", ".join(f"10.0.0.{n}" for n in range(count))


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (f"nameservers: [{servers(3)}]", ""),
        (f"nameservers: [{servers(4)}]", "nameservers"),
        ("nameservers: [dns.example.com]", "nameservers[0]"),
        (f"searches: [{', '.join(['a.b'] * 32)}]", ""),
        (f"searches: [{', '.join(['a.b'] * 33)}]", "searches"),
        (f"searches: [{', '.join(['a' * 63 + '.' + 'b' * 63] * 16)}]", ""),  # 16 · 128 = 2048 with the spaces between
        (f"searches: [{', '.join(['a' * 63 + '.' + 'b' * 63] * 16)}, c]", "searches"),
        ("searches: [_a.b., .]", ""),
        ("searches: [A]", "searches[0]"),
    ],
)
def test_dns(config: str, field: str) -> None:
    found = wrong(f"containers: [C], dnsConfig: {{{config}}}")
    assert list(found) == ([f"spec.dnsConfig.{field}"] if field else [])  # (E10)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("volumes: [{name: a}]", ""),
        ("volumes: [{name: a, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]", ""),
        ("volumes: [{name: a, emptyDir: {sizeLimit: 1Mi}}]", ""),
        ("volumes: [{name: a, emptyDir: {medium: Memory, sizeLimit: -1}}]", "volumes[0].emptyDir.sizeLimit"),
        *[(f"volumes: [{{name: a, hostPath: {{path: /a, type: {t}}}}}]", "") for t in (
            '""', "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice")],
        ("volumes: [{name: a, hostPath: {path: /a..b}}]", ""),
        ("volumes: [{name: a, hostPath: {path: /..}}]", "volumes[0].hostPath.path"),
        ("dnsPolicy: None, dnsConfig: {nameservers: [10.0.0.1]}", ""),
        ("dnsPolicy: None", "dnsConfig.nameservers"),
        ("hostAliases: [{ip: 10.0.0.1, hostnames: [a_b]}]", "hostAliases[0].hostnames[0]"),
        ("tolerations: [{key: a}]", ""),
        ("tolerations: [{value: a}]", "tolerations[0].operator"),
        ("tolerations: [{key: a, tolerationSeconds: 5, effect: NoExecute}]", ""),
        ("tolerations: [{key: a, tolerationSeconds: 5}]", "tolerations[0].effect"),
    ],
)  # fmt: skip
def test_pods(more: str, field: str) -> None:
    assert list(wrong(f"containers: [C], {more}")) == ([f"spec.{field}"] if field else [])


@pytest.mark.parametrize(
    ("term", "field"),
    [
        ("matchExpressions: [{key: a, operator: In, values: [b]}]", ""),
        ("matchExpressions: [{key: a, operator: In}]", "matchExpressions[0].values"),
        ("matchExpressions: [{key: a, operator: Exists, values: [b]}]", "matchExpressions[0].values"),
        ("matchExpressions: [{key: a, operator: Gt, values: ['5']}]", ""),
        ("matchExpressions: [{key: a, operator: Gt, values: [five]}]", "matchExpressions[0].values"),
        ("matchExpressions: [{key: a, operator: Lt, values: ['1', '2']}]", "matchExpressions[0].values"),
        ("matchExpressions: [{key: -a, operator: Exists}]", "matchExpressions[0].key"),
        ("matchFields: [{key: metadata.name, operator: In, values: [n1]}]", ""),
        ("matchFields: [{key: spec.x, operator: In, values: [n1]}]", "matchFields[0].key"),
    ],
)
def test_node_affinity(term: str, field: str) -> None:
    where = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    required = f"requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{{{term}}}]}}"
    found = wrong(f"containers: [C], affinity: {{nodeAffinity: {{{required}}}}}")
    assert list(found) == ([f"spec.{where}[0].{field}"] if field else [])  # (A5)


def test_affinity_needs_a_term() -> None:
    required = "requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}"
    (field,) = wrong(f"containers: [C], affinity: {{nodeAffinity: {{{required}}}}}")
    assert field.endswith("nodeSelectorTerms")


def test_a_port_of_the_host_may_differ_unless_the_network_is_the_hosts() -> None:
    ports = "containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 8081}]}]"
    assert wrong(ports) == {}
    assert list(wrong(f"hostNetwork: true, {ports}")) == ["spec.containers[0].ports[0].hostPort"]


@pytest.mark.parametrize(
    ("own", "container", "field"),
    [
        ("limits: {cpu: 1, memory: 2Gi}", "requests: {cpu: 500m, memory: 1Gi}, limits: {memory: 2Gi}", ""),
        ("limits: {cpu: 1}", "requests: {cpu: 1m}, limits: {cpu: 1001m}", "containers[0].resources.limits.cpu"),
        ("limits: {cpu: 1}", "limits: {memory: 9Gi}", ""),
        ("requests: {memory: 1Mi}", "requests: {memory: 1Mi}", "resources.requests.memory"),  # each of two
        ("requests: {memory: 2Mi}", "requests: {memory: 1Mi}", ""),
        ("requests: {memory: 2Mi}, limits: {memory: 1Mi}", "", "resources.requests.memory"),
        ("requests: {ephemeral-storage: 1Gi}", "", "resources.requests.ephemeral-storage"),
        ("limits: {hugepages-2Mi: 2Mi}", "", "resources.limits.hugepages-2Mi"),
        ("requests: {cpu: -1}", "", "resources.requests.cpu"),
    ],
)
def test_resources_of_a_whole_pod(own: str, container: str, field: str) -> None:  # R3
    both = ", ".join(f"{{name: {name}, image: i, resources: {{{container}}}}}" for name in "ab")
    found = [f for f in wrong(f"containers: [{both}], resources: {{{own}}}") if "containers[1]" not in f]
    assert found[:1] == ([f"spec.{field}"] if field else [])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        (r'command: [a, "b\0"]', "command[1]"),
        (r'args: ["\0"]', "args[0]"),
        (r'env: [{name: A, value: "x\0y"}]', "env[0].value"),
        (r'workingDir: "/\0"', "workingDir"),
        (r'volumeMounts: [{name: v, mountPath: "/a\0"}]', "volumeMounts[0].mountPath"),
        (r'livenessProbe: {exec: {command: ["\0"]}}', "livenessProbe.exec.command[0]"),
        (r'lifecycle: {preStop: {exec: {command: [a, "\0"]}}}', "lifecycle.preStop.exec.command[1]"),
    ],
)
def test_no_program_is_told_a_zero_byte(more: str, field: str) -> None:
    assert in_container(more) == {f"spec.containers[0].{field}": "must not have a zero byte in it"}


def test_no_image_has_a_zero_byte_in_its_name() -> None:
    assert list(wrong(r'containers: [{name: c, image: "a\0b"}]')) == ["spec.containers[0].image"]
