"""The host's side of the pod network: the bridge with the gateway's address, and NAT for what leaves the cluster.

Rule: doing it again is no work; nothing of the machine's own network is changed. The packet filter table is named
after the bridge and holds one rule.
"""

import shutil
import socket
import subprocess
from ipaddress import IPv4Network

from nodeagent.runtime.addresses import gateway
from nodeagent.runtime.netlink import Netlink, hardware_address

TABLE = """add table ip {table}
delete table ip {table}
table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {pods} ip daddr != {cluster} masquerade
  }}
}}
"""


def configure(bridge: str, pod_cidr: str, cluster_cidr: str) -> str:
    """Makes bridge and NAT in the caller's network namespace; returns what is missing, in words, or nothing.

    Raises OSError when the kernel refuses, ValueError when a range can't be read.
    """
    address = f"{gateway(pod_cidr)}/{IPv4Network(pod_cidr).prefixlen}"
    with Netlink() as netlink:
        if bridge not in (name for _, name in socket.if_nameindex()):  # of this namespace; /sys may show another's
            netlink.add_bridge(bridge, hardware_address(gateway(pod_cidr)))
        index = socket.if_nametoindex(bridge)
        netlink.add_address(index, address)
        netlink.up(index)
    nft = shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if nft is None:
        return "nft is not installed: pods reach nothing outside of the cluster"
    rules = TABLE.format(table=bridge, pods=pod_cidr, cluster=cluster_cidr or pod_cidr)
    done = subprocess.run([nft, "-f", "-"], input=rules, capture_output=True, text=True, timeout=30, check=False)
    return f"nft refused the rule for outgoing traffic: {done.stderr.strip()}" if done.returncode else ""


def remove(bridge: str) -> None:
    """Undoes `configure`."""
    with Netlink() as netlink:
        netlink.delete_link(bridge)
    nft = shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if nft:
        rules = f"add table ip {bridge}\ndelete table ip {bridge}\n"
        subprocess.run([nft, "-f", "-"], input=rules, capture_output=True, text=True, timeout=30, check=False)
