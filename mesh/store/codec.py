"""The plain codec: how an object without secrets lies in a store.

Rule: the stored bytes do not carry the revision (the store knows it); decoding puts it back.
"""

from google.protobuf.message import DecodeError

from mesh.errors import Unavailable
from mesh.model.keys import Key
from mesh.model.kinds import Object, kind_named


class PlainCodec:
    """Protobuf bytes; for every kind whose content may lie on a disk as it is."""

    def encode(self, _key: Key, obj: Object, _revision: int) -> bytes:
        """The object's bytes without `metadata.resourceVersion`; the object itself stays as it is."""
        bare = type(obj)()
        bare.CopyFrom(obj)  # type: ignore[arg-type]  # the copy is of the object's own type
        bare.metadata.ClearField("resource_version")
        return bare.SerializeToString(deterministic=True)

    def decode(self, key: Key, value: bytes, revision: int) -> Object:
        """The object as of `revision`; raises Unavailable when the bytes are no object of the key's kind."""
        obj = kind_named(key.kind).message()
        try:
            obj.ParseFromString(value)
        except DecodeError as error:
            raise Unavailable(f"cannot read {key}: its stored bytes are damaged or encrypted ({error})") from error
        obj.metadata.resource_version = str(revision)
        return obj
