"""Images and PDFs from data URLs."""

from __future__ import annotations

import base64

import pytest

from claude_server.core.errors import InvalidRequest, TurnError, UnsupportedParameter
from claude_server.core.model import Document, Image
from claude_server.dialects import media

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1" + b"p" * 20
PDF = b"%PDF-1.7\n"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("url", "media_type", "data"),
    [
        (f"data:image/png;base64,{b64(PNG)}", "image/png", PNG),
        (f"data:IMAGE/PNG;charset=x;BASE64,{b64(PNG)}", "image/png", PNG),
        (f"data:;base64,{b64(PNG)}", "", PNG),
        ("data:text/plain;base64,YWJj\n ZGVm\r\n", "text/plain", b"abcdef"),
        ("data:text/plain;base64,Pz8%2FPw%3D%3D", "text/plain", b"????"),
        ("data:text/plain,a%20b,c", "text/plain", b"a b,c"),
        ("data:,", "", b""),
    ],
)
def test_data_urls(url: str, media_type: str, data: bytes) -> None:
    assert media.data_url(url, "p") == (media_type, data)


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "data:", "data:image/png", "image/png;base64,AAAA"),
        *("data:image/png;base64,A", "data:image/png;base64,AA-_", "data:image/png;base64,é"),
        *("data:image/png;base64,====", "data:image/png;base64,%ff"),
    ],
)
def test_what_is_no_data_url(url: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        media.data_url(url, "messages[0].x")
    assert raised.value.param == "messages[0].x" and "'messages[0].x'" in raised.value.message


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xc0\0\x11\x08\0\1\0\1", "image/jpeg"),
        (b"GIF87a\1\0\1\0", "image/gif"),
        (b"GIF89a\1\0\1\0...", "image/gif"),
        (b"RIFF\x01\x02\x03\x04WEBPVP8L\1\0\0\0\x2f\0\0\0\0", "image/webp"),
    ],
)
def test_images_are_known_by_their_first_bytes(data: bytes, media_type: str) -> None:
    assert media.image(data, "p") == Image(media_type, b64(data))


@pytest.mark.parametrize(
    "data", [b"", b"<svg/>", b"RIFF....WAVE", b"BM", b"\x89PNG", b"II*\x00", PDF, b"GIF88a"]
)
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        media.image(data, "p")
    assert raised.value.param == "p"


@pytest.mark.parametrize("url_type", ["application/pdf", "", "application/octet-stream"])
@pytest.mark.parametrize("data", [PDF, b"\n" * 1000 + PDF])
def test_a_pdf_is_known_by_its_head(url_type: str, data: bytes) -> None:
    url = f"data:{url_type};base64,{b64(data)}"
    assert media.document(url, "a.pdf", "p") == Document(b64(data), "a.pdf")


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        ("data:application/pdf;base64,QUJD", InvalidRequest, "is no PDF"),
        ("data:text/plain;base64,QUJD", UnsupportedParameter, "not text/plain"),
        ("data:;base64,QUJD", UnsupportedParameter, "not no type"),
        ("data:application/pdf;base64," + b64(b"\n" * 1100 + PDF), InvalidRequest, "is no PDF"),
    ],
)
def test_what_is_no_pdf(url: str, kind: type[TurnError], says: str) -> None:
    with pytest.raises(kind, match=says) as raised:
        media.document(url, None, "p")
    assert type(raised.value) is kind and raised.value.param == "p"
