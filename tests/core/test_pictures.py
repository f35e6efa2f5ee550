"""The kind and the size of a picture, from its header."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.core.errors import InvalidRequest
from claude_server.core.pictures import kind, size
from claude_server.dialects import media


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def jpeg(width: int, height: int, frame: int = 0xC0) -> bytes:
    """As cameras make it: a thumbnail's header in the segment before is not the picture's."""
    inner = b"Exif\0\0\xff\xd8\xff\xc0\0\x11\x08\0\1\0\1"
    exif = b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner
    huffman = b"\xff\xff\xc4" + struct.pack(">H", 4) + b"ab"
    return b"\xff\xd8" + exif + huffman + struct.pack(">BBHBHH", 0xFF, frame, 17, 8, height, width)


def riff(form: bytes, inner: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + form + struct.pack("<I", len(inner)) + inner


def lossy(width: int, height: int) -> bytes:
    return riff(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height))


def lossless(width: int, height: int) -> bytes:
    return riff(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14))


def extended(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff(b"VP8X", b"\0\0\0\0" + sides)


MAKERS = [png, gif, jpeg, lambda w, h: jpeg(w, h, 0xC2), lossy, lossless, extended]


@pytest.mark.parametrize("make", MAKERS)
def test_the_size(make: object) -> None:
    assert callable(make)
    data = make(8000, 31)
    assert kind(data) in ("image/png", "image/gif", "image/jpeg", "image/webp")
    assert size(data) == (8000, 31)
    assert media.image(data, "p").data == base64.b64encode(data).decode()
    for cut in range(len(data)):
        assert size(data[:cut]) is None
    with pytest.raises(InvalidRequest) as raised:
        media.image(make(31, 8001), "p")
    assert raised.value.param == "p"
    assert raised.value.message == "'p' is 31 x 8001 pixels large: a side may have 8000 at most."


@pytest.mark.parametrize("data", [png(0, 5), gif(5, 0), lossy(0, 0), b"\xff\xd8\xff\xd9", riff(b"VP9 ", b"")])
def test_a_damaged_picture(data: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        media.image(data, "messages[0].content[1].image_url")
    assert raised.value.message == (
        "'messages[0].content[1].image_url' is damaged: its size can't be read from its first bytes."
    )


@given(st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"RIFF0000WEBP", png(1, 1)[:8]]), st.binary())
def test_any_bytes_have_a_size_or_none(head: bytes, rest: bytes) -> None:
    found = size(head + rest)
    assert found is None or (min(found) > 0 and kind(head + rest))
