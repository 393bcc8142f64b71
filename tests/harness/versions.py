"""Programs of other releases, as far as the wire can tell them from today's.

former = Dialect.former(1)            # a release that spoke protocol 1, by the schema that is kept of it
former.heard(message)                 # what such a program makes of a message: what it does not know is not there
tomorrow = Dialect.tomorrow()         # a release whose messages and enums all have one thing more
tomorrow.said(message)                # the same message as such a program says it
OtherAgent(agent, former)             # an agent of that release, for meshd: today's behaviour behind the other's words
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from mesh.fleet.port import AgentPort
from mesh.v1 import control_pb2, node_pb2
from mesh.v1.node_pb2 import Assignment

M = TypeVar("M", bound=Message)
RELEASED = Path(__file__).parent.parent / "golden" / "wire"
FRESH = 49_999  # the number of the field that tomorrow's messages have more than today's
WORD = "from tomorrow"


class Dialect:
    """One release's schema."""

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        waiting = {file.name: file for file in files}
        while waiting:
            for name, file in list(waiting.items()):
                if not any(needed in waiting for needed in file.dependency):
                    for needed in file.dependency:
                        self._borrow(needed)
                    self._pool.Add(waiting.pop(name))  # type: ignore[no-untyped-call]

    @classmethod
    def former(cls, protocol: int) -> "Dialect":
        """What a release spoke."""
        held = descriptor_pb2.FileDescriptorSet.FromString((RELEASED / f"{protocol}.binpb").read_bytes())
        return cls(held.file)

    @classmethod
    def tomorrow(cls) -> "Dialect":
        """Today's, where every message has one field more, which is set."""
        files = _with_dependencies(control_pb2.DESCRIPTOR)
        for file in files:
            for message in file.message_type:
                message.field.add(name="fresh", number=FRESH, type=9, label=1, json_name="fresh")
        return cls(files)

    def heard(self, message: M) -> M:
        """What is left of today's message when such a program has read it."""
        theirs = self._class(message).FromString(message.SerializeToString())
        theirs.DiscardUnknownFields()
        return type(message).FromString(theirs.SerializeToString())

    def said(self, message: M) -> M:
        """The message with a word in every part of it that only tomorrow's programs understand."""
        theirs = self._class(message).FromString(message.SerializeToString())
        _mark(theirs)
        return type(message).FromString(theirs.SerializeToString())

    def _class(self, message: Message) -> type[Message]:
        found = self._pool.FindMessageTypeByName(message.DESCRIPTOR.full_name)  # type: ignore[no-untyped-call]
        return message_factory.GetMessageClass(found)  # type: ignore[no-any-return]

    def _borrow(self, name: str) -> None:
        """A file of protobuf's own."""
        try:
            self._pool.FindFileByName(name)  # type: ignore[no-untyped-call]
        except KeyError:
            theirs = descriptor_pb2.FileDescriptorProto()
            descriptor_pool.Default().FindFileByName(name).CopyToProto(theirs)  # type: ignore[no-untyped-call]
            self._pool.Add(theirs)  # type: ignore[no-untyped-call]


def _with_dependencies(file: FileDescriptor) -> list[descriptor_pb2.FileDescriptorProto]:
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(one: FileDescriptor) -> None:
        if one.name.startswith("mesh/") and one.name not in found:
            found[one.name] = descriptor_pb2.FileDescriptorProto()
            one.CopyToProto(found[one.name])  # type: ignore[no-untyped-call]
            for needed in one.dependencies:
                add(needed)

    add(file)
    return list(found.values())


def _mark(message: Message) -> None:
    if "fresh" in message.DESCRIPTOR.fields_by_name:
        message.fresh = WORD  # type: ignore[attr-defined]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        entry = field.message_type.GetOptions().map_entry
        many = value.values() if entry else value if field.is_repeated else [value]
        for one in many:
            if isinstance(one, Message):
                _mark(one)


class OtherAgent:
    """See the module; `protocol`: what it says of itself, None: nothing, as releases before that was said."""

    def __init__(self, agent: AgentPort, dialect: Dialect, protocol: node_pb2.Protocol | None = None) -> None:
        self._agent = agent
        self._dialect = dialect
        self.protocol = protocol

    async def assign(self, assignment: Assignment) -> node_pb2.AssignReply:
        order = Assignment.FromString(assignment.signed.assignment) if assignment.HasField("signed") else assignment
        return self._say(await self._agent.assign(self._dialect.heard(order)))

    async def program(self, table: node_pb2.ServiceTable) -> node_pb2.AssignReply:
        return self._say(await self._agent.program(self._dialect.heard(table)))

    async def flows(self, request: node_pb2.FlowsRequest) -> node_pb2.Flows:
        return self._say(await self._agent.flows(self._dialect.heard(request)))

    async def observe(self, request: node_pb2.ObserveRequest) -> node_pb2.Observed:
        observed = self._say(await self._agent.observe(self._dialect.heard(request)))
        observed.ClearField("protocol")
        if observed.full and self.protocol is not None:
            observed.protocol.CopyFrom(self.protocol)
        return observed

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        return self._say(await self._agent.open_stream(self._dialect.heard(request)))

    async def read_stream(self, request: node_pb2.StreamRead) -> node_pb2.StreamBatch:
        return self._say(await self._agent.read_stream(self._dialect.heard(request)))

    async def write_stream(self, request: node_pb2.StreamWrite) -> node_pb2.StreamWritten:
        return self._say(await self._agent.write_stream(self._dialect.heard(request)))

    async def close_stream(self, request: node_pb2.StreamClose) -> node_pb2.StreamClosed:
        return self._say(await self._agent.close_stream(self._dialect.heard(request)))

    def _say(self, message: M) -> M:
        """As that release says it: without what it does not know, and with what it knows more."""
        return self._dialect.said(self._dialect.heard(message))
