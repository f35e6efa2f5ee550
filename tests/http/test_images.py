"""Images at http(s) addresses, fetched from a server of the test's own."""

from __future__ import annotations

import asyncio
import base64
import gzip
import ipaddress
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from claude_server.core.errors import InvalidRequest
from claude_server.core.model import Image
from claude_server.http import images
from claude_server.http.images import Address, ImageFetcher, public

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1" + bytes(range(256)) * 8
LIMIT = 4096
# Reachable from here, and not what the server listens on.
FORBIDDEN = "127.0.0.2"


@dataclass
class Site:
    """Answers each path with what is said here; `asked` holds the heads of the requests."""

    port: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        writer.write(self.answers[head.split()[1]])
        writer.close()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def says(self, path: str, status: str, body: bytes = b"", **headers: str) -> str:
        lines = [
            f"HTTP/1.1 {status}",
            *(f"{k}: {v}" for k, v in headers.items()),
            "connection: close",
            "",
            "",
        ]
        self.answers[path] = "\r\n".join(lines).encode() + body
        return self.url(path)


@pytest.fixture
async def site() -> AsyncGenerator[Site, None]:
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


def here(address: Address) -> bool:
    return str(address) == "127.0.0.1"


async def fetched(*urls: str, limit: int = LIMIT) -> dict[str, Image]:
    return await ImageFetcher(limit, 3 * limit, here).fetch(placed(*urls))


def placed(*urls: str) -> dict[str, str]:
    return {url: f"messages[{number}]" for number, url in enumerate(urls)}


async def problem(url: str) -> str:
    with pytest.raises(InvalidRequest) as raised:
        await fetched(url)
    assert raised.value.param == (
        "messages" if raised.value.message.startswith("The images") else "messages[0]"
    )
    return raised.value.message


async def test_an_image(site: Site) -> None:
    # What it is called is not looked at.
    url = site.says("/a.png?x=1", "200 OK", PNG, **{"content-type": "text/html"})
    assert await fetched(url, url) == {url: Image("image/png", base64.b64encode(PNG).decode())}
    (head,) = site.asked
    assert head.startswith("GET /a.png?x=1 HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{site.port}\r\n" in head.lower()
    assert "cookie" not in head.lower() and "authorization" not in head.lower()


async def test_several_images(site: Site) -> None:
    urls = [site.says(f"/{n}", "200 OK", PNG + bytes([n])) for n in range(3)]
    made = await fetched(*urls, urls[0])
    assert list(made) == urls and len({image.data for image in made.values()}) == 3


async def test_many_images_are_no_way_around_the_size_of_a_request(site: Site) -> None:
    """A body of a few kB can name any number of them."""
    size = LIMIT // 2
    urls = [site.says(f"/{n}", "200 OK", PNG[:24] + b"x" * (size - 24)) for n in range(6)]
    with pytest.raises(
        InvalidRequest, match=rf"larger than {3 * LIMIT} bytes together \(MAX_REQUEST_SIZE\)"
    ) as raised:
        await fetched(*urls)
    assert raised.value.param == "messages[4]"
    # One of them was too many, and no more were asked for. In base64 they are a third larger.
    assert len(site.asked) == 5
    assert len(await fetched(*urls[:4])) == 4


async def test_nothing_to_fetch() -> None:
    assert await fetched() == {}


async def test_the_name_is_asked_for_at_its_address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up once: it can't come to mean another address in between."""
    site.says("/x", "200 OK", PNG)
    looked_up = []

    async def getaddrinfo(host: str, *rest: object, **more: object) -> list[object]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    url = site.url("/x", "images.example")
    assert list(await fetched(url)) == [url]
    assert looked_up == ["images.example"]
    assert f"host: images.example:{site.port}\r\n" in site.asked[0].lower()


async def test_redirects(site: Site) -> None:
    site.says("/3", "200 OK", PNG)
    site.says("/2", "308 Moved", location=site.url("/3"))
    site.says("/1", "303 Moved", location="3")
    assert len(await fetched(site.says("/0", "302 Found", location="/2"), site.url("/1"))) == 2


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (f"http://{FORBIDDEN}/x", "is not on the internet"),
        ("http://[::1]/x", "is not on the internet"),
        ("file:///etc/passwd", "no plain http(s) address"),
        ("ftp://127.0.0.1/x", "no plain http(s) address"),
        ("http://user:secret@127.0.0.1/x", "no plain http(s) address"),
        ("http://[/", "can't be fetched"),
        ("/again", "is behind too many redirects"),
    ],
)
async def test_a_redirect_to_where_nothing_is_fetched(site: Site, location: str, says: str) -> None:
    message = await problem(site.says("/again", "302 Found", location=location))
    assert says in message
    assert len(site.asked) == (4 if location == "/again" else 1)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        ("404 Not Found", PNG, "can't be fetched: 404"),
        ("500 Oops", PNG, "can't be fetched: 500"),
        ("302 Found", PNG, "can't be fetched: 302"),
        ("304 Not Modified", b"", "can't be fetched: 304"),
        ("204 No Content", b"", "can't be fetched: 204"),
        ("200 OK", b"<html>", "no PNG, JPEG, GIF or WebP image"),
        ("200 OK", b"", "no PNG, JPEG, GIF or WebP image"),
        ("200 OK", PNG + b"x" * LIMIT, f"is larger than {LIMIT} bytes (CLAUDE_IMAGE_SIZE)"),
    ],
)
async def test_what_is_no_image(site: Site, status: str, body: bytes, says: str) -> None:
    url = site.says("/x", status, body)
    message = await problem(url)
    assert says in message and url in message


async def test_a_body_that_grows_when_it_is_unpacked(site: Site) -> None:
    """It is asked for as it is, and never unpacked: a megabyte may become a gigabyte."""
    packed = gzip.compress(PNG + b"\0" * 100_000)
    assert len(packed) < LIMIT
    message = await problem(site.says("/x", "200 OK", packed, **{"content-encoding": "gzip"}))
    assert "accept-encoding: identity" in site.asked[-1] and "is no PNG" in message


async def test_a_body_of_just_the_limit(site: Site) -> None:
    url = site.says("/x", "200 OK", PNG)
    assert len(await fetched(url, limit=len(PNG))) == 1
    with pytest.raises(InvalidRequest):
        await fetched(url, limit=len(PNG) - 1)


async def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert "can't be fetched" in await problem(f"http://127.0.0.1:{port}/x")


async def test_a_server_that_hangs_up(site: Site) -> None:
    site.answers["/x"] = b""
    assert "can't be fetched" in await problem(site.url("/x"))


async def test_a_server_that_says_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_TIMEOUT", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        message = await problem(f"http://127.0.0.1:{silent.getsockname()[1]}/x")
    assert "did not arrive" in message or "can't be fetched" in message


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://127.0.0.1/x", "file:///etc/passwd", "http:///x", "x", "", "http://me:pw@127.0.0.1/x"),
        *("http://[::1/x", "http://127.0.0.1:99999999/x", "http://" + "a" * 64 + ".com/x", "http://.../x"),
        *("http://\x00/x", "http://a b/"),
    ],
)
async def test_what_is_no_address(url: str) -> None:
    assert "can't be fetched" in await problem(url)


async def test_a_long_address_is_not_repeated() -> None:
    assert len(await problem("ftp://x/" + "y" * 100_000)) < 300


# Where nothing is fetched


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450::1"]
)
def test_the_internet(address: str) -> None:
    assert public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "198.18.0.1", "192.0.2.1", "203.0.113.1", "240.0.0.1"),
        *("224.0.0.1", "239.255.255.250", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "100::1"),
        *("2001:db8::1", "4000::1"),
        # One of IPv4 in one of IPv6: mapped, translated, compatible, NAT64 (both), 6to4, Teredo.
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "::127.0.0.1", "::10.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:808:808::1"),
        *("2001:0:7f00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    ],
)
def test_what_is_not_the_internet(address: str) -> None:
    assert not public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST", "0", "127.1", "2130706433", "0x7f000001"),
        *("0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "169.254.169.254", "[fe80::1]", "10.0.0.1"),
    ],
)
async def test_nothing_is_asked_of_this_machine_or_its_network(site: Site, host: str) -> None:
    """Names and odd spellings too: what counts is the address in the end."""
    with pytest.raises(InvalidRequest, match="is not on the internet: it is not fetched"):
        await ImageFetcher(LIMIT, LIMIT).fetch(placed(site.url("/x", host)))
    assert site.asked == []


async def test_a_name_with_a_good_and_a_bad_address_is_a_trick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*args: object, **more: object) -> list[object]:
        kinds = [(socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "::1")]
        return [(kind, socket.SOCK_STREAM, 6, "", (address, 0)) for kind, address in kinds]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(InvalidRequest, match="is not on the internet"):
        await ImageFetcher(LIMIT, LIMIT).fetch(placed("http://two-faced.example/x"))
