"""Questions and answers on the wire.

Rules: pure; dnspython does the encoding. Whatever comes in, nothing but `Garbage` is raised. An answer that does not
fit is cut and says so (TC), so that the client asks again over TCP.
"""

import struct
from collections.abc import Collection

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.message import Message

from netproxy.dns.names import Absent, Found

TTL = 5  # seconds, as CoreDNS has it (D7)
PLAIN, LARGEST = 512, 1232  # bytes of an answer over UDP, without EDNS and with it at most


class Garbage(Exception):  # noqa: N818 - it is the datagram that is wrong
    """Not a question; nobody is to be answered."""


def question(wire: bytes) -> Message:
    """The question of a datagram; raises Garbage."""
    if len(wire) < 12 or wire[2] & 0x80:
        raise Garbage("too short, or an answer")
    try:
        return dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error, AssertionError, OverflowError) as error:
        raise Garbage(str(error)) from error


def asked(query: Message) -> tuple[str, dns.rdatatype.RdataType]:
    """The name and type asked for; raises Garbage for anything but one plain question."""
    if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
        raise Garbage("not one question")
    one = query.question[0]
    if one.rdclass not in {dns.rdataclass.IN, dns.rdataclass.ANY}:
        raise Garbage("not of the internet's class")
    return one.name.to_text(omit_final_dot=True), one.rdtype


def limit(query: Message) -> int:
    """How many bytes the asker takes over UDP."""
    return max(PLAIN, min(query.payload, LARGEST)) if query.edns >= 0 else PLAIN


def wire_of(answer: Message, most: int) -> bytes:
    """The bytes of an answer, cut when they are more than `most`."""
    try:
        return answer.to_wire(max_size=most)
    except dns.exception.TooBig:
        for section in (answer.answer, answer.authority, answer.additional):
            section.clear()
        answer.flags |= dns.flags.TC
        return answer.to_wire(max_size=most)


def failure(query: Message, code: dns.rcode.Rcode) -> Message:
    """An answer that tells of a failure."""
    answer = reply(query)
    answer.set_rcode(code)
    return answer


def reply(query: Message) -> Message:
    """An answer without records."""
    answer = dns.message.make_response(query, recursion_available=True, our_payload=LARGEST)
    answer.flags &= ~dns.flags.AD
    return answer


def answer_of(query: Message, found: Found | Absent, zone: str) -> Message:
    """The answer from what a name of ours has."""
    answer = reply(query)
    answer.flags |= dns.flags.AA
    if found is Absent.NAME:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif isinstance(found, Found):
        one = query.question[0]
        texts = _records(found, one.rdtype)
        if texts:
            answer.answer.append(_rrset(one.name, texts[0], texts[1]))
        if one.rdtype == dns.rdatatype.SRV:
            for target, addresses in found.glue.items():
                answer.additional.append(_rrset(dns.name.from_text(target + "."), "A", addresses))
    if not answer.answer:
        apex = dns.name.from_text(zone + ".")
        soa = f"ns.dns.{zone}. hostmaster.{zone}. 1 7200 1800 86400 {TTL}"
        own = query.question[0].rdtype == dns.rdatatype.SOA and query.question[0].name == apex
        (answer.answer if own else answer.authority).append(_rrset(apex, "SOA", [soa]))
    return answer


def _records(found: Found, kind: dns.rdatatype.RdataType) -> tuple[str, list[str]] | None:
    any_kind = kind == dns.rdatatype.ANY
    if found.alias:
        return "CNAME", [found.alias + "."]
    if found.addresses and (kind == dns.rdatatype.A or any_kind):
        return "A", list(found.addresses)
    if found.services and (kind == dns.rdatatype.SRV or any_kind):
        share = max(1, 100 // len(found.services))
        return "SRV", [f"0 {share} {s.port} {s.target}." for s in found.services]
    if found.texts and (kind == dns.rdatatype.TXT or any_kind):
        return "TXT", [f'"{text}"' for text in found.texts]
    if found.pointers and (kind == dns.rdatatype.PTR or any_kind):
        return "PTR", [pointer + "." for pointer in found.pointers]
    return None


def _rrset(name: dns.name.Name, kind: str, texts: Collection[str]) -> dns.rrset.RRset:
    return dns.rrset.from_text_list(name, TTL, "IN", kind, texts)
