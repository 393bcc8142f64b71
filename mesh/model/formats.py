"""Textual forms of values: names, labels, ports, paths (rows A1-A4, V8).

Rule: each check returns what is wrong, in words, or "" when nothing is.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping

from mesh.model import quantity
from mesh.v1 import rules_pb2

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", re.ASCII)
_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)

ANNOTATIONS_LIMIT = 256 * 1024


def dns_label(text: str) -> str:
    """An RFC 1123 label (A1)."""
    if len(text) > 63:
        return f"must be no more than 63 characters, has {len(text)}"
    if not _LABEL.fullmatch(text):
        return f'must be lower-case letters, digits and "-", beginning and ending with a letter or digit, is "{text}"'
    return ""


def dns_subdomain(text: str) -> str:
    """An RFC 1123 subdomain (A1)."""
    if len(text) > 253:
        return f"must be no more than 253 characters, has {len(text)}"
    if not _SUBDOMAIN.fullmatch(text):
        return (
            f'must be lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit, is "{text}"'
        )
    return ""


def label_key(text: str) -> str:
    """A key of a label or annotation: [prefix/]name (A2)."""
    prefix, slash, name = text.rpartition("/")
    if slash and (not prefix or dns_subdomain(prefix)):
        return f'the part before "/" of "{text}" must be a DNS subdomain of lower-case letters, digits, "-" and "."'
    if not name or len(name) > 63 or not _QUALIFIED.fullmatch(name):
        return (
            f'"{text}" must be 1 to 63 letters, digits, "-", "_" and ".", beginning and ending with a letter or '
            'digit, with an optional prefix such as "example.com/"'
        )
    return ""


def label_value(text: str) -> str:
    """A value of a label; may be empty (A2)."""
    if len(text) > 63:
        return f"must be no more than 63 characters, has {len(text)}"
    if text and not _QUALIFIED.fullmatch(text):
        return f'must be letters, digits, "-", "_" and ".", beginning and ending with a letter or digit, is "{text}"'
    return ""


def env_name(text: str) -> str:
    """A name of an environment variable: printable ASCII without '=' (A4)."""
    if not text or "=" in text or any(not " " <= c <= "~" for c in text):
        return f'must be printable ASCII characters without "=", is {text!r}'
    return ""


def port_name(text: str) -> str:
    """A name of a port (A3)."""
    if len(text) > 15:
        return f'must be no more than 15 characters, "{text}" has {len(text)}'
    if not _PORT_NAME.fullmatch(text) or "--" in text or not any(c.isalpha() for c in text):
        return f'must be lower-case letters, digits and single "-" between them, with at least one letter, is "{text}"'
    return ""


def config_key(text: str) -> str:
    """A key of a ConfigMap or Secret; becomes a file name (V8)."""
    if not text or len(text) > 253 or not _CONFIG_KEY.fullmatch(text):
        return f'a key must be 1 to 253 letters, digits, "-", "_" and ".", is "{text}"'
    if text == "." or text.startswith(".."):
        return f'a key must not be "." nor begin with "..", is "{text}"'
    return ""


def absolute_path(text: str) -> str:
    """A path from the root; `..` elements are the business of who uses it."""
    return "" if text.startswith("/") and "\0" not in text else f'must be an absolute path, is "{text}"'


def relative_path(text: str) -> str:
    """A path that stays below where it starts."""
    if text.startswith("/") or "\0" in text:
        return f'must be a relative path, is "{text}"'
    if ".." in text.split("/"):
        return f'must not contain a ".." element, is "{text}"'
    return ""


def ip(text: str) -> str:
    """An IPv4 or IPv6 address without zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return f'must be an IP address, is "{text}"'
    return f'must be an IP address without a zone, is "{text}"' if "%" in text else ""


def resource_quantity(text: str) -> str:
    """A quantity (R1)."""
    try:
        quantity.parse(text)
    except ValueError as error:
        return str(error)
    return ""


TEXTS: Mapping[int, Callable[[str], str]] = {
    rules_pb2.QUANTITY: resource_quantity,
    rules_pb2.DNS_SUBDOMAIN: dns_subdomain,
    rules_pb2.DNS_LABEL: dns_label,
    rules_pb2.LABEL_KEY: label_key,
    rules_pb2.ENV_NAME: env_name,
    rules_pb2.PORT_NAME: port_name,
    rules_pb2.CONFIG_KEY: config_key,
    rules_pb2.ABSOLUTE_PATH: absolute_path,
    rules_pb2.RELATIVE_PATH: relative_path,
    rules_pb2.IP: ip,
}
