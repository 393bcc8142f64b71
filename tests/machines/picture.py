"""What a host looks like, in lines, so that what a playbook left behind can be named.

Rule: it is looked at by tools that every Debian has. What differs from boot to boot by itself is named here, each with
its own expression; everything else counts.
"""

import re
from collections.abc import Callable, Mapping

# A command, and which of its lines come and go by themselves.
INSIDE: Mapping[str, tuple[str, str]] = {
    "unit": ("systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}' | sort", r"^run-|^$"),
    "failed unit": ("systemctl list-units --failed --no-legend --no-pager --plain", "^$"),
    "mount": ("awk '{print $2, $3}' /proc/self/mounts | sort", r"/run/user|/proc/sys/fs/binfmt_misc"),
    "route": ("ip route show table all | sed 's/ expires [0-9]*sec//' | sort", r"^local fe80::\S+ dev eth0 "),
    "policy of routes": ("ip rule show", "^$"),
    "link": ("ip -o link | awk '{print $2}' | sort", "^eth0@if"),  # a lab's host gets another cable when it boots
    "address": ("ip -o address | awk '{print $2, $4}' | sort", "^eth0 fe80::"),
    "kernel's setting": ("sysctl -a 2>/dev/null | grep -E '^net\\.(ipv4|ipv6|core|bridge)\\.' | sort",
                         r"\.(neigh|route)\.|neigh/|stable_secret|random|tcp_fastopen_key|_mem ="),
    "package": ("dpkg-query -W -f '${Package} ${Status}\\n' | sort", "^$"),
    "user or group": ("cut -d: -f1,3 /etc/passwd /etc/group | sort", "^$"),
    "setting": ("find /etc /opt /root /usr/local /srv -xdev -not -path '/root/.ansible*' "
                "\\( -type f -exec md5sum {} + -o -print \\) | sort",
                r"/etc/(ld\.so\.cache|(passwd|group|shadow|gshadow|subuid|subgid)-?)$|/root/\.(cache|ssh)|/etc/ssl/certs"),
    "state": ("find /var/lib /var/log /var/cache /var/backups /run /tmp -xdev -maxdepth 2 "
              "-not -path '/run/systemd*' | sort",
              r"^/var/lib/(apt|dpkg|systemd|ucf)|^/var/(log|cache)/(apt|dpkg|debconf|ldconfig|journal|private)"
              r"|^/var/backups/(alternatives|apt|dpkg)\."
              r"|^/var/log/\w+\.log|^/var/log/wtmp\.db|^/var/lib/(wtmpdb|lastlog)"
              r"|^/run/(log|user|udev|ansible|sshd|lock|adduser)|^/tmp/(ansible|systemd)"),
    "process": ("ps -eo comm | sort -u",
                r"^(ps|awk|sort|sshd|sh|sshd-\w+|sftp-server|systemd\S*|\(sd-pam\)|\(udev-worker\)|\S*kworker\S*)$"),
}  # fmt: skip
_UNSTEADY = re.compile(r"^#|counter packets|\[\d+:\d+\]")
Picture = Mapping[str, frozenset[str]]


def picture(shell: Callable[[str], str], rules: str = "") -> Picture:
    """What is there of a host; `rules`: of its packet filters, read from outside, for a bare host can't tell them."""
    steady = "\n".join(line for line in rules.splitlines() if not _UNSTEADY.search(line))
    texts = {what: shell(command) for what, (command, _) in INSIDE.items()} | {"rule": steady}
    return {what: frozenset(text.splitlines()) for what, text in texts.items()}


def differences(before: Picture, after: Picture) -> list[str]:
    """Lines that came or went, each with what it is."""
    found = []
    for what, lines in before.items():
        _, by_itself = INSIDE.get(what, ("", "^$"))
        found += [f"{what} came: {line}" for line in sorted(after[what] - lines) if not re.search(by_itself, line)]
        found += [f"{what} went: {line}" for line in sorted(lines - after[what]) if not re.search(by_itself, line)]
    return found
