"""The texts of a pod's own /etc/hosts, /etc/resolv.conf and /etc/hostname (E8 to E10).

Rule: pure; execute.py writes them.
"""

from mesh.v1.core_pb2 import Pod

HOSTNAME_LIMIT = 63
MAX_NAMESERVERS, MAX_SEARCHES = 3, 32


def hostname_of(pod: Pod, node_name: str) -> str:
    """spec.hostname, else the pod's name, cut to 63 (E8); on the host's network the node's."""
    if pod.spec.hostname_override:
        return pod.spec.hostname_override
    if pod.spec.host_network:
        return node_name
    return (pod.spec.hostname or pod.metadata.name)[:HOSTNAME_LIMIT].rstrip("-.")


def hosts(pod: Pod, ip: str, hostname: str) -> str:
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
        lines.append(f"{ip}\t{hostname}")
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


def resolv_conf(pod: Pod, host_text: str) -> str:
    """The host's resolver configuration, completed by dnsConfig; with dnsPolicy None by dnsConfig alone (E10)."""
    servers, searches, options = _parse("" if pod.spec.dns_policy == "None" else host_text)
    config = pod.spec.dns_config
    servers = _merged(list(config.nameservers), servers) if config.nameservers else servers
    searches = _merged(searches, list(config.searches))
    for option in config.options:
        options = [o for o in options if o.split(":")[0] != option.name]
        options.append(f"{option.name}:{option.value}" if option.value else option.name)
    lines = [f"search {' '.join(searches[:MAX_SEARCHES])}"] if searches else []
    lines += [f"nameserver {server}" for server in servers[:MAX_NAMESERVERS]]
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


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
