"""`python -m netproxy.forget`: the addresses of Services are no longer this host's own.

Rule: for a host that leaves its mesh; a proxy that ends leaves its routes, since the next one goes on with them.
"""

from netproxy.netlink import Netlink


def main() -> None:
    """Removes every route of ours in this network namespace. Raises OSError."""
    with Netlink() as link:
        for network in link.owned():
            link.disown(network)


if __name__ == "__main__":
    main()
