"""Environment, commands and /etc files (E1 to E3, E5, E8 to E10)."""

import re

import pytest

from mesh.v1.core_pb2 import (
    ConfigMap,
    EnvVar,
    EnvVarSource,
    HostAlias,
    ObjectFieldSelector,
    PodDNSConfig,
    PodDNSConfigOption,
    ResourceRequirements,
    VolumeMount,
)
from nodeagent.fieldrefs import Allocatable, Around
from nodeagent.pods.environment import environment, expand, files_of
from nodeagent.pods.etc import host_hosts, hostname_of, hosts, resolv_conf
from nodeagent.pods.spec import sub_paths
from nodeagent.runtime.port import RuntimeFailure
from tests.harness.agents import a_container, a_pod
from tests.harness.objects import config_map

VALUES = {"A": "a", "B": "b", "EMPTY": "", "X_1": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""), ("plain", "plain"), ("$(A)", "a"), ("$(A)$(B)", "ab"), ("-$(A)-", "-a-"), ("$(NONE)", "$(NONE)"),
        ("$A", "$A"), ("$$", "$"), ("$$(A)", "$(A)"), ("$$$(A)", "$a"), ("$$$$(A)", "$$(A)"), ("$(A", "$(A"),
        ("$(", "$("), ("$", "$"), ("$()", "$()"), ("$(EMPTY)", ""), ("$(X_1)", "x"), ("a$$b", "a$b"),
        ("$(A)(B)", "a(B)"),
        ("$ (A)", "$ (A)"), ("$(NONE)$(A)", "$(NONE)a"), ("$$(NONE)", "$(NONE)"), ("100%$", "100%$"),
    ],
)  # fmt: skip
def test_expansion(text: str, expected: str) -> None:  # E2
    assert expand(text, VALUES) == expected


def test_only_earlier_names_are_seen_and_later_entries_win() -> None:  # E2, E3
    container = a_container(
        env=[
            EnvVar(name="EARLY", value="$(LATE)"), EnvVar(name="LATE", value="late"),
            EnvVar(name="BOTH", value="$(LATE)-$(EARLY)"), EnvVar(name="LATE", value="later"),
        ]
    )  # fmt: skip
    env = environment(a_pod("p"), container, Around())
    assert env == {"EARLY": "$(LATE)", "LATE": "later", "BOTH": "late-$(LATE)"}


def test_fields() -> None:  # E5
    pod = a_pod("p")
    pod.metadata.labels["tier"] = "front"
    pod.metadata.annotations["a/b"] = "note"
    paths = {
        "metadata.name": "p", "metadata.namespace": "default", "metadata.uid": "uid-p", "spec.nodeName": "node1",
        "spec.serviceAccountName": "default", "status.hostIP": "192.0.2.1", "status.podIP": "10.1.1.2",
        "status.podIPs": "10.1.1.2", "metadata.labels['tier']": "front", "metadata.annotations['a/b']": "note",
        "metadata.labels['none']": "",
    }  # fmt: skip
    for path, expected in paths.items():
        source = EnvVarSource(field_ref=ObjectFieldSelector(field_path=path))
        container = a_container(env=[EnvVar(name="X", value_from=source)])
        assert environment(pod, container, Around("192.0.2.1", "10.1.1.2")) == {"X": expected}


def test_what_cant_be_resolved_is_said() -> None:
    with pytest.raises(RuntimeFailure, match="valueFrom is not honoured yet") as raised:
        environment(a_pod("p"), a_container(env=[EnvVar(name="X", value_from=EnvVarSource())]), Around())
    assert raised.value.reason == "CreateContainerConfigError"


def test_hostnames() -> None:  # E8
    assert hostname_of(a_pod("web"), "node1") == "web"
    assert hostname_of(a_pod("web", hostname="db"), "node1") == "db"
    assert hostname_of(a_pod("web", host_network=True), "node1") == "node1"
    assert len(hostname_of(a_pod("x" * 100), "node1")) == 63
    assert hostname_of(a_pod("x" * 62 + "-y"), "node1") == "x" * 62


def test_hosts() -> None:  # E9
    pod = a_pod("web", host_aliases=[HostAlias(ip="1.2.3.4", hostnames=["db", "db.local"])])
    text = hosts(pod, "10.244.1.2", "web")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost")
    assert "\n10.244.1.2\tweb\n" in text
    assert text.endswith("# Entries added by HostAliases.\n1.2.3.4\tdb\tdb.local\n")
    assert host_hosts(a_pod("h"), "127.0.0.1 me\n").endswith("127.0.0.1 me\n")


def test_resolv_conf() -> None:  # E10
    of_host = "domain old\nsearch corp.example\nnameserver 9.9.9.9 # best\noptions ndots:2 rotate\n"
    assert resolv_conf(a_pod("p"), of_host) == "search corp.example\nnameserver 9.9.9.9\noptions ndots:2 rotate\n"
    config = PodDNSConfig(
        nameservers=["1.1.1.1"], searches=["a.example"], options=[PodDNSConfigOption(name="ndots", value="5")]
    )
    merged = resolv_conf(a_pod("p", dns_config=config), of_host)
    assert merged == (
        "search corp.example a.example\nnameserver 9.9.9.9\nnameserver 1.1.1.1\noptions rotate ndots:5\n"
    )  # fmt: skip
    alone = resolv_conf(a_pod("p", dns_policy="None", dns_config=config), of_host)
    assert alone == "search a.example\nnameserver 1.1.1.1\noptions ndots:5\n"
    many = PodDNSConfig(nameservers=[f"1.1.1.{n}" for n in range(5)], searches=[f"s{n}" for n in range(40)])
    bounded = resolv_conf(a_pod("p", dns_policy="None", dns_config=many), "")
    assert bounded.count("nameserver") == 3
    assert len(bounded.splitlines()[0].split()) == 33


def config_env(**data: str) -> dict[str, ConfigMap]:
    return {"c": config_map("c", **data), "d": config_map("d", A="of d", X="x")}


def test_env_from_comes_before_env_and_later_sources_win() -> None:  # E3, E4
    container = a_container(env=[EnvVar(name="B", value="$(A)-$(P_A)"), EnvVar(name="X", value="own")])
    container.env_from.add().config_map_ref.name = "c"
    container.env_from.add().config_map_ref.name = "d"
    container.env_from.add(prefix="P_").config_map_ref.name = "c"
    env = environment(a_pod("p"), container, Around(), config_env(A="of c", B="b", **{"odd.key-1": "$(A)"}))
    assert env == {
        "A": "of d", "B": "of d-of c", "X": "own", "odd.key-1": "$(A)", "P_A": "of c", "P_B": "b",
        "P_odd.key-1": "$(A)",
    }  # fmt: skip


def test_what_is_not_there_is_refused_unless_optional() -> None:  # E4, E5
    container = a_container()
    container.env_from.add().config_map_ref.name = "none"
    with pytest.raises(RuntimeFailure, match='configmap "none" not found') as caught:
        environment(a_pod("p"), container, Around(), config_env())
    assert caught.value.reason == "CreateContainerConfigError"
    container.env_from[0].config_map_ref.optional = True
    key = container.env.add(name="K").value_from.config_map_key_ref
    key.name, key.key = "c", "missing"
    with pytest.raises(RuntimeFailure, match="couldn't find key missing in ConfigMap default/c"):
        environment(a_pod("p"), container, Around(), config_env())
    key.optional = True
    assert environment(a_pod("p"), container, Around(), config_env()) == {}  # not even empty
    key.key = "A"
    assert environment(a_pod("p"), container, Around(), config_env(A="1")) == {"K": "1"}


def test_what_no_variable_can_have_is_refused_not_cut() -> None:
    container = a_container()
    container.env_from.add().config_map_ref.name = "c"
    with pytest.raises(RuntimeFailure, match="variable C has a zero byte") as caught:
        environment(a_pod("p"), container, Around(), config_env(C="x\0y"))
    assert caught.value.reason == "CreateContainerConfigError"


def test_resources_of_this_or_another_container() -> None:  # E5
    limits = ResourceRequirements(limits={"memory": "64Mi"})
    container = a_container(env=[EnvVar(name=n) for n in ("OWN", "OTHER")])
    own, other = (v.value_from.resource_field_ref for v in container.env)
    own.resource, own.divisor = "limits.cpu", "1m"
    other.resource, other.container_name, other.divisor = "limits.memory", "side", "1Mi"
    pod = a_pod("p", containers=(container, a_container("side", resources=limits)))
    around = Around(allocatable=Allocatable(3900, 8 << 30))
    assert environment(pod, container, around) == {"OWN": "3900", "OTHER": "64"}
    other.container_name = "none"
    with pytest.raises(RuntimeFailure, match="no resource that can be referenced"):
        environment(pod, container, around)


def test_sub_path_expressions() -> None:  # V14
    mounts = [VolumeMount(name="v", mount_path="/a", sub_path="plain/$(X)"),
              VolumeMount(name="v", mount_path="/b", sub_path_expr="logs/$(X)$$"),
              VolumeMount(name="v", mount_path="/c")]  # fmt: skip
    container = a_container(volume_mounts=mounts)
    assert sub_paths(container, {"X": "x"}) == {0: "plain/$(X)", 1: "logs/x$"}
    for env, words in (({}, "no environment variable X"), ({"X": "/../../.."}, "leads out")):
        with pytest.raises(RuntimeFailure, match=words) as caught:
            sub_paths(container, env)
        assert caught.value.reason == "CreateContainerConfigError"


def from_file(key: str, *, optional: bool = False) -> EnvVar:
    source = EnvVarSource()
    source.file_key_ref.volume_name, source.file_key_ref.path = "scratch", "made/env"
    source.file_key_ref.key, source.file_key_ref.optional = key, optional
    return EnvVar(name=f"MY_{key}", value_from=source)


def test_variables_that_another_container_left_in_a_file() -> None:  # E5
    text = "# made at start\n\n  ADDRESS = 'db:5432'  \nLONG='one $(X)\ntwo \"#'\nADDRESS='db2'\n"
    variables = [from_file("ADDRESS"), from_file("LONG"), from_file("NONE", optional=True)]
    container = a_container(env=[*variables, EnvVar(name="AT", value="at $(MY_ADDRESS)")])
    assert files_of(container) == {("scratch", "made/env")}
    found = environment(a_pod("p"), container, Around(), files={("scratch", "made/env"): text})
    assert found == {"MY_ADDRESS": "db2", "MY_LONG": 'one $(X)\ntwo "#', "AT": "at db2"}
    only = a_container(env=[from_file("NONE", optional=True)])
    assert environment(a_pod("p"), only, Around()) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, 'file "made/env" of volume "scratch" is not there'), ("A='b'\n", 'has no "KEY"'),
        ("A='b'\nKEY=bare\n", "line 2 is not of the form NAME='value'"), ("KEY='open\n", "line 1 is not"),
        ("KEY='a' b\n", "line 1 is not"), ("KEY='a'\n\nexport B='c'\n", "line 3 is not"),
    ],
)  # fmt: skip
def test_a_file_of_variables_that_cannot_be_taken_is_said(text: str | None, words: str) -> None:
    files = {} if text is None else {("scratch", "made/env"): text}
    with pytest.raises(RuntimeFailure, match=re.escape(words)) as raised:
        environment(a_pod("p"), a_container(env=[from_file("KEY")]), Around(), files=files)
    assert raised.value.reason == "CreateContainerConfigError"
