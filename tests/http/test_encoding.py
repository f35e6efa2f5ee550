"""Bodies in other encodings than UTF-8: taken, or refused by name."""

from __future__ import annotations

import codecs

import pytest

from claude_server.core.errors import InvalidRequest
from claude_server.http.encoding import utf8

TEXT = '{"messages": "Grüße, 世界 \U0001f600"}'
LATIN = '{"messages": "Grüße"}'


@pytest.mark.parametrize(
    "body",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        TEXT.encode("utf-32-le"),
    ],
)
def test_what_shows_in_the_first_bytes(body: bytes) -> None:
    for content_type in ("", "application/json", "application/json; charset=iso-8859-1"):
        assert utf8(body, content_type) == TEXT.encode()


@pytest.mark.parametrize("charset", ["ISO-8859-1", '"latin1"', "windows-1252"])
def test_what_is_declared(charset: str) -> None:
    body = LATIN.encode("latin-1")
    assert utf8(body, f"application/json; charset={charset}") == LATIN.encode()
    # Nobody is harmed by a wrong declaration.
    assert utf8(TEXT.encode(), f"application/json;charset={charset}; x=1") == TEXT.encode()


def test_what_is_no_utf8_and_undeclared_is_left_to_the_parser() -> None:
    assert utf8(LATIN.encode("latin-1"), "application/json") == LATIN.encode("latin-1")
    assert utf8(b"") == b""


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"\xff\xfe{\x00\x00", "", "The body is not the UTF-16 that it seems to be: send UTF-8."),
        (b"\xff\xfe{\x00\x00\xd8", "", "The body is not the UTF-16 that it seems to be: send UTF-8."),
        (b"\xe9", "x; charset=utf-8", "The body is not the UTF-8 that it seems to be: send UTF-8."),
        (b"\xe9", "x; charset=shift_jis", "The body's charset 'shift_jis' is not known here: send UTF-8."),
        (
            b"\xe9",
            "x; charset=punycode",
            "The body's charset 'punycode' is not known here: send UTF-8.",
        ),
    ],
)
def test_a_refusal_names_the_encoding(body: bytes, content_type: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        utf8(body, content_type)
    assert raised.value.message == message


def test_a_compressed_body() -> None:
    with pytest.raises(InvalidRequest, match=r"compressed \(content-encoding: gzip\)"):
        utf8(b"\x1f\x8b\x08", "application/json", "gzip")
    assert utf8(b"{}", "application/json", " Identity ") == b"{}"
