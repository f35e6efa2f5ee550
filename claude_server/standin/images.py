"""What the API looks at in a picture before a model sees it: format and size, from the header alone."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["image_error"]

MAX_SIDE = 8_000
# Of the base64 text, not of the bytes that it stands for.
MAX_CHARS = 5 * 1024 * 1024


class _Header(NamedTuple):
    media_type: str
    width: int
    height: int


def image_error(source: Mapping[str, Any]) -> str | None:
    """Why the API refuses an image block's `source`; None for a good one, and for one given by its url."""
    if source.get("type") != "base64":
        return None
    data, named = str(source.get("data", "")), source.get("media_type")
    if len(data) > MAX_CHARS:
        return f"image exceeds 5 MB maximum: {len(data)} bytes > {MAX_CHARS} bytes"
    try:
        found = _header(base64.b64decode(data, validate=True))
    except (ValueError, struct.error, IndexError):
        found = None
    if found is None:
        return "Could not process image"
    if found.media_type != named:
        return (
            f"The image was specified using the {named} media type, but the image appears to be a"
            f" {found.media_type} image"
        )
    if max(found.width, found.height) > MAX_SIDE:
        return f"At least one of the image dimensions exceed max allowed size: {MAX_SIDE} pixels"
    return None


def _header(raw: bytes) -> _Header | None:
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return _Header("image/png", *struct.unpack_from(">II", raw, 16))
    if raw.startswith((b"GIF87a", b"GIF89a")):
        return _Header("image/gif", *struct.unpack_from("<HH", raw, 6))
    if raw.startswith(b"\xff\xd8"):
        return _jpeg(raw)
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return _webp(raw)
    return None


def _jpeg(raw: bytes) -> _Header | None:
    for marker, at in _jpeg_segments(raw):
        # A start of frame; the three that are left out are tables.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", raw, at + 3)
            return _Header("image/jpeg", width, height)
    return None


def _jpeg_segments(raw: bytes) -> Iterator[tuple[int, int]]:
    """(marker, where its length stands) of each segment up to the pixels."""
    at = 2
    while raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        yield marker, at + 2
        at += 2 + struct.unpack_from(">H", raw, at + 2)[0]


def _webp(raw: bytes) -> _Header | None:
    kind = raw[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", raw, 26)
        return _Header("image/webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", raw, 21)[0]
        return _Header("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        sizes = raw[24:27] + b"\0" + raw[27:30] + b"\0"
        width, height = struct.unpack("<II", sizes)
        return _Header("image/webp", width + 1, height + 1)
    return None
