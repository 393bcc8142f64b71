"""Where a request of HTTP/1 ends and the next may begin: all that the proxy reads of a protocol.

Rules: pure; bytes are looked at, never changed. It knows when a connection is between two requests, and says `Lost`
for all that it does not follow (pipelining, upgrades, an answer before its request): such a connection is relayed as
bytes from then on.
"""

HEAD = 65536  # bytes of a head at most
_BODILESS = {b"204", b"304"}


class Lost(Exception):  # noqa: N818 - no error: the end of what is followed
    """Nothing is known any more of where requests end."""


class Message:
    """One request or response. `left`: bytes of its body that are yet to come, -1: until the connection ends."""

    __slots__ = ("_chunked", "_head", "_last", "_line", "done", "left", "start", "to")

    def __init__(self, to: bytes | None = None) -> None:
        self.to = to  # the method that a response answers; None: this is a request
        self.start = b""
        self.done = False
        self.left = 0
        self._head: bytes | None = b""
        self._chunked = self._last = False
        self._line = b""

    def feed(self, data: bytes) -> bytes:
        """Takes what belongs to this message and returns the rest."""
        if self._head is not None:
            data = self._begin(data)
        while data and not self.done:
            if self.left < 0:
                return b""
            if self.left:
                taken = min(self.left, len(data))
                self.left -= taken
                data = data[taken:]
                self.done = not self.left and not self._chunked
            elif self._chunked:
                data = self._size(data)
        return data

    def _begin(self, data: bytes) -> bytes:
        head = self._head + data if self._head else data
        end = head.find(b"\r\n\r\n")
        if end < 0:
            if len(head) > HEAD:
                raise Lost
            self._head = head
            return b""
        self._head = None
        self.start, _, fields = head[: end + 2].partition(b"\r\n")
        self._measure(fields.lower())
        return head[end + 4 :]

    def _measure(self, fields: bytes) -> None:
        status = b"" if self.to is None else self.start[9:12]
        if self.to is not None and (status == b"101" or self.to == b"CONNECT" or not self.start.startswith(b"HTTP/1.")):
            raise Lost
        if self.to == b"HEAD" or status in _BODILESS or status.startswith(b"1"):
            self.done = True
            return
        lines = fields.split(b"\r\n")
        coding = [line for line in lines if line.startswith(b"transfer-encoding:")]
        lengths = {line.partition(b":")[2].strip() for line in lines if line.startswith(b"content-length:")}
        if coding:
            if len(coding) > 1 or not coding[0].rstrip().endswith(b"chunked") or lengths:
                raise Lost
            self._chunked = True
        elif lengths:
            text = lengths.pop()
            if lengths or not text.isdigit():
                raise Lost
            self.left = int(text)
            self.done = not self.left
        elif self.to is None:
            self.done = True
        else:
            self.left = -1

    def _size(self, data: bytes) -> bytes:
        """The line between two chunks, or one of the lines after the last."""
        self._line += data
        line, ended, rest = self._line.partition(b"\n")
        if not ended:
            if len(self._line) > HEAD:
                raise Lost
            return b""
        self._line = b""
        line = line.rstrip(b"\r")
        if self._last:  # after the last chunk: trailers, then an empty line
            self.done = not line
            return rest
        if not line:  # ends the chunk before
            return rest
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError as error:
            raise Lost from error
        if size:
            self.left = size
        else:
            self._last = True
        return rest


class Tracker:
    """Both directions of one connection; `idle`: between two requests."""

    __slots__ = ("_request", "_response", "idle")

    def __init__(self) -> None:
        self.idle = True
        self._request = self._response = Message()

    def asked(self, data: bytes) -> None:
        """Bytes from the client; raises Lost."""
        if self.idle:
            self.idle = False
            self._request, self._response = Message(), Message(b"")
        elif self._request.done:
            raise Lost
        if self._request.feed(data):
            raise Lost
        method = self._request.start.partition(b" ")[0]
        if method == b"PRI" or (self._request.start and b" HTTP/1." not in self._request.start):
            raise Lost
        if method:
            self._response.to = method

    def answered(self, data: bytes) -> None:
        """Bytes from the backend; raises Lost."""
        while data:
            if self.idle or not self._response.to:
                raise Lost
            data = self._response.feed(data)
            if not self._response.done:
                continue
            if self._response.start[9:10] == b"1":
                self._response = Message(self._response.to)
            elif data or not self._request.done:
                raise Lost
            else:
                self.idle = True
