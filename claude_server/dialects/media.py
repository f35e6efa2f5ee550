"""Images and PDFs, from data URLs or as fetched. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from claude_server.core import pictures
from claude_server.core.errors import InvalidRequest, UnsupportedParameter
from claude_server.core.model import Document, Image

_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", re.DOTALL)
_BLANK = re.compile(r"\s+")
_PDF_HEAD = 1024
# Pixels; the API's own limit.
MAX_SIDE = 8000


def data_url(url: str, place: str) -> tuple[str, bytes]:
    """(media type, bytes) of a data URL. Raises InvalidRequest."""
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise InvalidRequest(f"'{place}' must be a data URL: data:TYPE;base64,DATA.", param=place)
    if "base64" not in found[2].lower().split(";"):
        return found[1].lower(), unquote_to_bytes(found[3])
    try:
        text = _BLANK.sub("", unquote_to_bytes(found[3]).decode())
        return found[1].lower(), base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"'{place}' is not valid base64.", param=place) from None


def image(data: bytes, place: str, shown: str | None = None) -> Image:
    """An image of one of the kinds that Claude sees. What it is shows in its first bytes; what it is called
    is not looked at. `shown`: what it is called in a sentence, if not by its place. Raises InvalidRequest.

    Some that the CLI can't shrink it would replace by a text, without a word.
    """
    what = shown or place
    media_type = pictures.kind(data)
    if media_type is None:
        raise InvalidRequest(f"'{what}' is no PNG, JPEG, GIF or WebP image.", param=place)
    size = pictures.size(data)
    if size is None:
        raise InvalidRequest(
            f"'{what}' is damaged: its size can't be read from its first bytes.", param=place
        )
    if max(size) > MAX_SIDE:
        pixels = f"{size[0]} x {size[1]} pixels"
        raise InvalidRequest(f"'{what}' is {pixels} large: a side may have {MAX_SIDE} at most.", param=place)
    return Image(media_type, base64.b64encode(data).decode())


def document(url: str, title: str | None, place: str) -> Document:
    """A PDF. Raises InvalidRequest or UnsupportedParameter."""
    media_type, data = data_url(url, place)
    if b"%PDF-" in data[:_PDF_HEAD]:
        return Document(base64.b64encode(data).decode(), title)
    if media_type == "application/pdf":
        raise InvalidRequest(f"'{place}' is no PDF.", param=place)
    what = media_type or "no type"
    raise UnsupportedParameter(f"'{place}': only PDF files are supported, not {what}.", param=place)
