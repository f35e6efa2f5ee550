"""Images at http(s) addresses, fetched for requests that name them. Never from a private network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Mapping

import anyio
import httpx

from claude_server.core.errors import InvalidRequest
from claude_server.core.model import Image
from claude_server.dialects import media

_TIMEOUT = 15.0
_REDIRECTS = 3
_LAST_PORT = 65535
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def public(address: Address) -> bool:
    """Is this an address of the internet, also where one of IPv4 is written as one of IPv6?"""
    if isinstance(address, ipaddress.IPv6Address) and (address.sixtofour or address not in _UNICAST):
        return False
    return address.is_global and not address.is_multicast


# All that is given out on the internet; NAT64 and other ways to write an address of IPv4 are outside.
_UNICAST = ipaddress.IPv6Network("2000::/3")


class ImageFetcher:
    """Fetches images of at most `limit` bytes each, `together` bytes a request. `allowed` says which
    addresses may be asked."""

    def __init__(self, limit: int, together: int, allowed: Callable[[Address], bool] = public) -> None:
        self._limit = limit
        self._together = together
        self._allowed = allowed

    async def fetch(self, wanted: Mapping[str, str]) -> dict[str, Image]:
        """The images at the URLs; each has its place in the request. Raises InvalidRequest with `param`."""
        if not wanted:
            return {}
        try:
            with anyio.fail_after(_TIMEOUT):
                # No proxy of ours, no cookies, no credentials: what a stranger would get.
                async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT) as client:
                    return await self._all(client, wanted)
        except TimeoutError:
            raise InvalidRequest(
                f"The images did not arrive within {_TIMEOUT:g} s.", param="messages"
            ) from None

    async def _all(self, client: httpx.AsyncClient, wanted: Mapping[str, str]) -> dict[str, Image]:
        found: dict[str, Image] = {}
        size = 0  # in base64, as in a body
        for url, place in wanted.items():
            try:
                found[url] = await self._one(client, url, place)
            except InvalidRequest as error:
                error.param = place
                raise
            size += len(found[url].data)
            if size > self._together:
                raise InvalidRequest(
                    f"The images are larger than {self._together} bytes together (MAX_REQUEST_SIZE).",
                    param=place,
                )
        return found

    async def _one(self, client: httpx.AsyncClient, given: str, place: str) -> Image:
        shown = given[:200]
        try:
            url = httpx.URL(given)
            for _ in range(_REDIRECTS + 1):
                data, url = await self._read(client, url, shown)
                if data is not None:
                    return media.image(data, place, shown)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise InvalidRequest(f"The image at '{shown}' can't be fetched: {error}.") from None
        raise InvalidRequest(f"The image at '{shown}' is behind too many redirects.")

    async def _read(
        self, client: httpx.AsyncClient, url: httpx.URL, shown: str
    ) -> tuple[bytes | None, httpx.URL]:
        """The body, or where it is to be found instead."""
        plain = url.scheme in ("http", "https") and url.host and not url.userinfo
        if not plain or (url.port or 0) > _LAST_PORT:
            raise InvalidRequest(f"The image at '{shown}' can't be fetched: no plain http(s) address.")
        address = await self._resolved(url, shown)
        # Asked by address, so that the name can't come to mean another one in between.
        request = client.build_request(
            "GET",
            url.copy_with(host=str(address)),
            headers={"host": url.netloc.decode(), "accept": "image/*", "accept-encoding": "identity"},
            extensions={"sni_hostname": url.host},
        )
        response = await client.send(request, stream=True)
        try:
            if response.has_redirect_location:
                return None, url.join(response.headers["location"])
            if response.status_code != 200:
                raise InvalidRequest(f"The image at '{shown}' can't be fetched: {response.status_code}.")
            return await self._body(response, shown), url
        finally:
            await response.aclose()

    async def _body(self, response: httpx.Response, shown: str) -> bytes:
        body = bytearray()
        # As it comes: an unpacked piece may be a thousand times as long, and is whole before it is seen.
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > self._limit:
                raise InvalidRequest(
                    f"The image at '{shown}' is larger than {self._limit} bytes (CLAUDE_IMAGE_SIZE)."
                )
        return bytes(body)

    async def _resolved(self, url: httpx.URL, shown: str) -> Address:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(url.host, None, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
        # All of them: a name that has both kinds is a trick.
        if not addresses or not all(map(self._allowed, addresses)):
            raise InvalidRequest(f"The image at '{shown}' is not on the internet: it is not fetched.")
        return addresses[0]
