"""Frames on a socket between two processes of a run: four bytes of length (big endian), then a JSON object.

JSON and not pickle: a frame can never run code. The socket is a pair that only the two processes hold: a pilot and its
launcher, or Snakemake and its controller.
"""

from __future__ import annotations

import json
import struct
from typing import Any, TypeAlias

Frame: TypeAlias = dict[str, Any]

HEADER = struct.Struct(">I")
MAX_BYTES = 64 * 2**20
"""More than any command line and environment can hold; a longer frame is a broken stream."""


_encode = json.JSONEncoder(separators=(",", ":")).encode


class FrameError(Exception):
    """The bytes are not a frame; the stream can't be used any more."""


def encode(frame: Frame) -> bytes:
    """The bytes of one frame.

    >>> encode({"op": "ready"})
    b'\\x00\\x00\\x00\\x0e{"op":"ready"}'
    """
    body = _encode(frame).encode("utf-8", "surrogatepass")
    if len(body) > MAX_BYTES:
        raise FrameError(f"a frame of {len(body)} bytes is longer than {MAX_BYTES}")
    return HEADER.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """The length in a header. Raises FrameError where no frame can be that long."""
    (length,) = HEADER.unpack(header)
    if length > MAX_BYTES:
        raise FrameError(f"a frame of {length} bytes is longer than {MAX_BYTES}")
    return int(length)


def decode(body: bytes) -> Frame:
    """The frame in a body. Raises FrameError if it is not a JSON object with an `op`."""
    try:
        frame = json.loads(body.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not a JSON frame: {error}") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("op"), str):
        raise FrameError("a frame is a JSON object with an op")
    return frame


class Decoder:
    """Collects bytes as they come, and yields whole frames.

    >>> decoder = Decoder()
    >>> decoder.feed(encode({"op": "a"}) + encode({"op": "b"})[:5])
    [{'op': 'a'}]
    >>> decoder.feed(encode({"op": "b"})[5:])
    [{'op': 'b'}]
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Raises FrameError."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= HEADER.size:
            end = HEADER.size + body_length(bytes(self._buffer[: HEADER.size]))
            if len(self._buffer) < end:
                break
            frames.append(decode(bytes(self._buffer[HEADER.size : end])))
            del self._buffer[:end]
        return frames
