"""Environment, commands and /etc files (E1 to E3, E5, E8 to E10)."""

import pytest

from mesh.v1.core_pb2 import EnvVar, EnvVarSource, HostAlias, ObjectFieldSelector, PodDNSConfig, PodDNSConfigOption
from nodeagent.fieldrefs import Around
from nodeagent.pods.environment import environment, expand
from nodeagent.pods.etc import host_hosts, hostname_of, hosts, resolv_conf
from nodeagent.runtime.port import RuntimeFailure
from tests.harness.agents import a_container, a_pod

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
    source = EnvVarSource()
    source.secret_key_ref.name = "s"
    with pytest.raises(RuntimeFailure, match="secretKeyRef is not honoured yet") as raised:
        environment(a_pod("p"), a_container(env=[EnvVar(name="X", value_from=source)]), Around())
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
        "search corp.example a.example\nnameserver 1.1.1.1\nnameserver 9.9.9.9\noptions rotate ndots:5\n"
    )  # fmt: skip
    alone = resolv_conf(a_pod("p", dns_policy="None", dns_config=config), of_host)
    assert alone == "search a.example\nnameserver 1.1.1.1\noptions ndots:5\n"
    many = PodDNSConfig(nameservers=[f"1.1.1.{n}" for n in range(5)], searches=[f"s{n}" for n in range(40)])
    bounded = resolv_conf(a_pod("p", dns_policy="None", dns_config=many), "")
    assert bounded.count("nameserver") == 3
    assert len(bounded.splitlines()[0].split()) == 33
