"""The texts of a pod's own /etc/hosts, /etc/resolv.conf and /etc/hostname (E8 to E10).

Rule: pure; execute.py writes them.
"""

from mesh.v1.core_pb2 import Pod
from nodeagent.names import NO_NAMES, Names, asks_cluster, qualified

HOSTNAME_LIMIT = 63
MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH, MAX_SEARCH_LINE = 3, 32, 255, 2048


def hostname_of(pod: Pod, node_name: str, names: Names = NO_NAMES) -> str:
    """spec.hostname, else the pod's name, cut to 63 (E8); on the host's network the node's; the full one on request."""
    if pod.spec.hostname_override:
        return pod.spec.hostname_override
    if pod.spec.host_network:
        return node_name
    own = (pod.spec.hostname or pod.metadata.name)[:HOSTNAME_LIMIT].rstrip("-.")
    return qualified(pod, names, own) if pod.spec.set_hostname_as_fqdn else own


def hosts(pod: Pod, ip: str, hostname: str, names: Names = NO_NAMES) -> str:
    """The managed hosts file (E9); pods on the host's network get `host_hosts` instead."""
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    if ip:
        full = hostname if pod.spec.set_hostname_as_fqdn else qualified(pod, names, hostname)
        own = hostname.partition(".")[0]
        lines.append(f"{ip}\t{full}" if full == own else f"{ip}\t{full}\t{own}")
    return "\n".join(lines) + "\n" + _aliases(pod)


def host_hosts(pod: Pod, host_text: str) -> str:
    """The hosts file of a pod on the host's network: the host's own, and the aliases (E9)."""
    return "# Kubernetes-managed hosts file (host network).\n" + host_text + _aliases(pod)


def _aliases(pod: Pod) -> str:
    if not pod.spec.host_aliases:
        return ""
    lines = ["", "# Entries added by HostAliases."]
    lines += [f"{alias.ip}\t" + "\t".join(alias.hostnames) for alias in pod.spec.host_aliases]
    return "\n".join(lines) + "\n"


def resolv_conf(pod: Pod, host_text: str, names: Names = NO_NAMES) -> str:
    """The pod's resolver configuration (E10), completed by dnsConfig: the mesh's name service with the host's search
    domains behind its own, the host's (dnsPolicy Default), or dnsConfig alone (None)."""
    servers, searches, options = _parse("" if pod.spec.dns_policy == "None" else host_text)
    if asks_cluster(pod, names):
        own = f"svc.{names.domain}"
        searches = _merged([f"{pod.metadata.namespace}.{own}", own, names.domain], searches)
        servers, options = [names.dns_address], ["ndots:5"]
    config = pod.spec.dns_config
    servers = _merged(servers, list(config.nameservers))
    searches = _fitting(_merged(searches, list(config.searches)))
    for option in config.options:
        options = [o for o in options if o.split(":")[0] != option.name]
        options.append(f"{option.name}:{option.value}" if option.value else option.name)
    lines = [f"search {' '.join(searches)}"] if searches else []
    lines += [f"nameserver {server}" for server in servers[:MAX_NAMESERVERS]]
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


def _fitting(searches: list[str]) -> list[str]:
    """As many as a resolver takes: 32 of at most 255 characters, 2048 in all."""
    fitting = [s for s in searches if len(s) <= MAX_SEARCH][:MAX_SEARCHES]
    while len(" ".join(fitting)) > MAX_SEARCH_LINE:
        fitting.pop()
    return fitting


def _parse(text: str) -> tuple[list[str], list[str], list[str]]:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if not words:
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = words[1:]
        elif words[0] == "options":
            options += words[1:]
    return servers, searches, options


def _merged(first: list[str], then: list[str]) -> list[str]:
    return list(dict.fromkeys([*first, *then]))
