from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_daskjq.frames import HEADER, MAX_BYTES, Decoder, FrameError, decode, encode

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
frames = st.dictionaries(st.text(), json_values).map(lambda fields: {**fields, "op": "start"})


@given(st.lists(frames, max_size=5), st.integers(1, 50))
def test_frames_survive_any_cut_of_the_stream(sent: list[dict[str, object]], size: int) -> None:
    stream = b"".join(encode(frame) for frame in sent)
    decoder, received = Decoder(), []
    for start in range(0, len(stream), size):
        received += decoder.feed(stream[start : start + size])
    assert received == sent


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_a_frame_error(data: bytes) -> None:
    try:
        received = Decoder().feed(data)
    except FrameError:
        return
    assert all(isinstance(frame["op"], str) for frame in received)


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{}", b'{"op":1}', b"\xff\xfe", b"{", b"[" * 5000])
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode(body)


def test_a_length_beyond_the_limit_is_refused_before_anything_is_stored() -> None:
    with pytest.raises(FrameError, match="longer than"):
        Decoder().feed(HEADER.pack(MAX_BYTES + 1))


def test_file_names_that_are_no_unicode_come_through() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert Decoder().feed(encode({"op": "start", "cwd": name})) == [{"op": "start", "cwd": name}]
