"""What a refused call carries: code, message, the kind of mesh.errors, and the fields that are wrong."""

from collections.abc import Awaitable
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2


@dataclass(slots=True)
class Refusal:
    """One refused call."""

    code: grpc.StatusCode
    message: str
    kind: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


async def refused(call: Awaitable[object]) -> Refusal:
    """Awaits the call, which must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """What a failed call carries."""
    refusal = Refusal(error.code(), error.details() or "")
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                refusal.kind, refusal.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                refusal.fields = {v.field: v.description for v in bad.field_violations}
    return refusal
