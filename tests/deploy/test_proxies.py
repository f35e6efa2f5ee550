"""The server behind nginx and Caddy, where they are installed, as deploy/proxies has them."""

from __future__ import annotations

import contextlib
import getpass
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from claude_server.standin import Reply, StandIn, default_reply
from tests.support import PATIENCE, ROOT, Server, clean_environment, serving

PROXIES = ROOT / "deploy" / "proxies"
KEY = "the-key-behind-the-proxy"
BEARER = {"Authorization": f"Bearer {KEY}"}
NAME = "claude.example.org"
NGINX = """
user {user}; daemon off; error_log {folder}/error.log; pid {folder}/pid; worker_processes 1;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {server}
}}
"""
CADDY = "{{ admin off\nauto_https disable_redirects\nskip_install_trust\nlocal_certs\n}}\n{server}"


@pytest.fixture(scope="module")
def behind(
    claude_bin: Path, shared_api: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    more = {"API_KEY": KEY, "TRUSTED_PROXIES": "127.0.0.1", "RATE_LIMIT_SESSION_PER_MINUTE": "2"}
    made = clean_environment(home, shared_api.url, CLAUDE_BIN=str(claude_bin), **more)
    with serving(home, made) as running:
        yield running


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def nginx(program: str, folder: Path, port: int, target: str) -> list[str]:
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        f"/CN={NAME}",
    ]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*request, *files], check=True, capture_output=True)
    text = (PROXIES / "nginx.conf").read_text()
    for written, here in (
        ("listen 443", f"listen 127.0.0.1:{port}"),
        (f"/etc/ssl/{NAME}.pem", f"{folder}/cert.pem"),
        (f"/etc/ssl/{NAME}.key", f"{folder}/key.pem"),
        ("http://127.0.0.1:8765", target),
    ):
        assert written in text
        text = text.replace(written, here)
    (folder / "nginx.conf").write_text(NGINX.format(user=getpass.getuser(), folder=folder, server=text))
    return [program, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]


def caddy(program: str, folder: Path, port: int, target: str) -> list[str]:
    text = (PROXIES / "Caddyfile").read_text()
    text = text.replace(f"{NAME} {{", f"https://{NAME}:{port} {{\n\tbind 127.0.0.1")
    text = text.replace("127.0.0.1:8765", target.removeprefix("http://"))
    (folder / "Caddyfile").write_text(CADDY.format(server=text))
    return [program, "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(
    request: pytest.FixtureRequest, behind: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the proxy."""
    program = shutil.which(request.param.__name__, path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip(f"no {request.param.__name__} here")
    folder = tmp_path_factory.mktemp("proxy")
    port = free_port()
    command = request.param(program, folder, port, behind.url)
    environment = {"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(httpx.TransportError), client(port) as asking:
                asking.get("/livez")
                break
            assert process.poll() is None and time.monotonic() < deadline, (folder / "output").read_text()
            time.sleep(0.05)
        yield str(port)
    finally:
        process.terminate()
        process.wait(PATIENCE)


class _Named(httpx.HTTPTransport):
    """Connects to this machine, and asks for the name that the certificate has."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = NAME
        request.headers["Host"] = f"{NAME}"
        return super().handle_request(request)


def client(port: int | str, address: str = "127.0.0.1", **headers: str) -> httpx.Client:
    """As if from an address of this machine's own network."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    transport = _Named(verify=context, local_address=address)
    url = f"https://127.0.0.1:{port}"
    return httpx.Client(transport=transport, base_url=url, headers=headers, timeout=PATIENCE)


def test_a_stream_comes_as_it_is_written(proxied: str, behind: Server, api: StandIn) -> None:
    api.responder = lambda request: Reply.of("word " * 40, delay=0.1, chunk_chars=5)
    body = {"stream": True, "messages": [{"role": "user", "content": "hi"}]}
    try:
        with (
            client(proxied, **BEARER) as asking,
            asking.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            assert answer.status_code == 200
            data = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {"))
            next(chunk for chunk in data if chunk["choices"][0]["delta"].get("content"))
            # The turn runs on while its first words are here already.
            health = httpx.get(f"{behind.url}/health", headers=BEARER).json()
            assert health["slots"]["running"] == 1
    finally:
        api.responder = default_reply


def test_the_key_is_asked_for(proxied: str) -> None:
    with client(proxied) as nobody, client(proxied, **BEARER) as somebody:
        assert nobody.get("/v1/models").status_code == 401
        assert somebody.get("/v1/models").status_code == 200


def test_a_large_request(proxied: str, api: StandIn) -> None:
    """What the server takes goes through; what it doesn't take is a 413, by whom ever."""
    with client(proxied, **BEARER) as asking:
        for size, status in ((1_500_000, 200), (21 * 1024 * 1024, 413)):
            body = {"messages": [{"role": "user", "content": "x"}], "user": "x" * size}
            assert asking.post("/v1/chat/completions", json=body).status_code == status


def test_each_client_has_its_own_rate(proxied: str, request: pytest.FixtureRequest) -> None:
    """By its address, and not by what it says of itself."""
    first = 8 if "nginx" in request.node.name else 18
    for address in (f"127.0.0.{first}", f"127.0.0.{first + 1}"):
        with client(proxied, address, **BEARER) as asking:
            answers = [
                asking.get("/v1/sessions", headers={"X-Forwarded-For": f"198.51.100.{number}"})
                for number in range(3)
            ]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
