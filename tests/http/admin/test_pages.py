"""The pages for people: they load nothing, run nothing, and say what is true."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from claude_server.app.main import create_app
from claude_server.configuration.settings import SERVICE, VERSION, Settings
from claude_server.core.backend import EngineState
from claude_server.core.model import ModelInfo
from tests.support import IdleBackend

KEY = "a-key-of-the-clients"


class Page(HTMLParser):
    """The tags, the attributes and the texts of a page that closes what it opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def application(tmp_path: Path, state: EngineState | None = None, **settings: object) -> FastAPI:
    return create_app(Settings.model_validate({"state_dir": tmp_path, **settings}), IdleBackend(state))


async def get(app: FastAPI, path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8765") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_needs_nothing_from_elsewhere(tmp_path: Path, path: str) -> None:
    answer = await get(application(tmp_path), path)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    page = Page(answer.text)
    assert not {"script", "iframe", "img", "form", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style")]
    links = [value or "" for name, value in page.attributes if name == "href"]
    assert links and all(link.startswith(("/", "#", "data:,")) for link in links)


async def test_what_runs(tmp_path: Path) -> None:
    state = EngineState(ready=False, level="warm", cli_version="2.1.330", problem="<b>Log in</b> & wait")
    answer = await get(application(tmp_path, state), "/")
    assert SERVICE in answer.text and VERSION in answer.text and "2.1.330" in answer.text
    assert "&lt;b&gt;Log in&lt;/b&gt; &amp; wait" in answer.text and "<b>" not in answer.text
    assert "http://127.0.0.1:8765/v1" in answer.text and "curl" in answer.text
    assert "Authorization" not in answer.text


async def test_with_keys_a_page_without_one_says_how_to_use_it_and_no_more(tmp_path: Path) -> None:
    """A browser can't send a key."""
    app = application(tmp_path, EngineState(ready=False, level="warm", cli_version="2.1.330"), api_key=KEY)
    short = await get(app, "/")
    whole = await get(app, "/", authorization=f"Bearer {KEY}")
    for answer in (short, whole):
        assert "Authorization: Bearer YOUR_KEY" in answer.text and KEY not in answer.text
    assert "2.1.330" in whole.text and "haiku" in whole.text
    assert not re.search(r"2\.1\.330|haiku|<table", short.text)
    for path in ("/docs", "/openapi.json"):
        assert (await get(app, path)).content == (await get(app, path, authorization=f"Bearer {KEY}")).content


async def test_every_link_leads_somewhere(tmp_path: Path) -> None:
    app = application(tmp_path)
    async with app.router.lifespan_context(app):
        for path in re.findall(r'href="(/[^"]*)"', (await get(app, "/")).text):
            assert (await get(app, path)).status_code == 200, path


async def test_the_reference_has_every_path_and_every_schema(tmp_path: Path) -> None:
    app = application(tmp_path)
    text = (await get(app, "/docs")).text
    document = app.openapi()
    assert "/v1/chat/completions" in document["paths"]
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in text
    targets = set(re.findall(r'href="#([^"]*)"', text))
    assert targets <= set(re.findall(r'id="([^"]*)"', text))
    assert {"ChatRequest", "ChatCompletion", "ErrorBody"} <= targets


def test_the_document_tells_errors_as_they_are(tmp_path: Path) -> None:
    document = application(tmp_path).openapi()
    for operations in document["paths"].values():
        for operation in operations.values():
            assert "422" not in operation["responses"] and "default" in operation["responses"]
    error = document["components"]["schemas"]["ErrorDetail"]
    assert {"message", "type", "param", "code"} == set(error["properties"])
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


async def test_the_other_addresses(tmp_path: Path) -> None:
    app = application(tmp_path)
    assert (await get(app, "/redoc")).headers["location"] == "/docs"
    body = (await get(app, "/version")).json()
    assert body == {"version": VERSION, "service": SERVICE, "api_version": "v1"}


async def test_names_of_models_are_only_text(tmp_path: Path) -> None:
    backend = IdleBackend()
    backend.models = (ModelInfo("<i>x</i>", "x"),)
    app = create_app(Settings(state_dir=tmp_path), backend)
    assert "<i>" not in (await get(app, "/")).text
