"""A name server that answers every question with one address: `python -m tests.matrix.nameserver ADDRESS`."""

import socket
import sys

import dns.message
import dns.rrset

ANSWER = "192.0.2.1"


def main(address: str) -> None:
    """Until it is ended."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    print("ready", flush=True)
    while True:
        wire, client = server.recvfrom(4096)
        question = dns.message.from_wire(wire)
        answer = dns.message.make_response(question, recursion_available=True)
        answer.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", ANSWER))
        server.sendto(answer.to_wire(), client)


if __name__ == "__main__":
    main(sys.argv[1])
