"""The pages for people, as HTML without scripts: what runs here, and what the paths take. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
pre { background: #8881; padding: .8rem; overflow-x: auto; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
td, th { text-align: left; vertical-align: top; padding: .1rem 1rem .1rem 0; }
h2 { margin-top: 2rem; } h3 { margin-bottom: 0; }
:root { color-scheme: light dark; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Nothing is loaded, run, framed or sent: only our own style, known by its hash.
HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def home(service: str, base_url: str, facts: Mapping[str, str], models: Sequence[str], *, keyed: bool) -> str:
    """What runs here and how to use it. `facts`: name and value, in order. They and `models` may be none."""
    url = f"{base_url}/v1"
    header = ' \\\n  -H "Authorization: Bearer YOUR_KEY"' if keyed else ""
    curl = (
        f'curl {url}/chat/completions{header} \\\n  -H "Content-Type: application/json" \\\n'
        """  -d '{"model": "default", "messages": [{"role": "user", "content": "Hello"}]}'"""
    )
    python = (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{url}", api_key="{"YOUR_KEY" if keyed else "not-used"}")'
    )
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
    names = ", ".join(f"<code>{escape(name)}</code>" for name in models)
    parts = [
        "<p>Use Claude from any OpenAI client, through the <code>claude</code> CLI.</p>",
        f"<table>{rows}</table>" if rows else "",
        f"<h2>Clients</h2><pre>{escape(python)}</pre><pre>{escape(curl)}</pre>",
        "<p>Every request needs an API key.</p>" if keyed else "",
        f"<h2>Models</h2><p>{names}</p>" if names else "",
        '<h2>More</h2><p><a href="/docs">the paths</a> · <a href="/openapi.json">openapi.json</a> · '
        '<a href="/health">health</a> · <a href="/v1/models">models</a> · '
        '<a href="/v1/auth/status">login</a> · <a href="/v1/sessions">sessions</a></p>',
    ]
    return _page(service, "".join(parts))


def reference(document: Mapping[str, Any]) -> str:
    """The OpenAPI document, to be read."""
    title = f"{document['info']['title']} {document['info']['version']}"
    paths = "".join(
        f"<h3><code>{escape(method.upper())} {escape(path)}</code></h3>{''.join(_operation(operation))}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    schemas = document.get("components", {}).get("schemas", {})
    models = "".join(
        f'<h3 id="{escape(name)}">{escape(name)}</h3>{_schema(schema)}' for name, schema in schemas.items()
    )
    return _page(title, f'<p><a href="/openapi.json">openapi.json</a></p>{paths}<h2>Schemas</h2>{models}')


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<p>{escape(operation.get('description') or operation.get('summary') or '')}</p>"
    for parameter in operation.get("parameters", ()):
        yield (
            f"<p>{escape(parameter['in'])}: <code>{escape(parameter['name'])}</code> "
            f"{_kind(parameter.get('schema', {}))}</p>"
        )
    for content in (operation.get("requestBody") or {}).get("content", {}).values():
        yield f"<p>takes {_kind(content.get('schema', {}))}</p>"
    for status, answer in operation.get("responses", {}).items():
        name = "errors" if status == "default" else status
        for content in answer.get("content", {}).values():
            yield f"<p>{escape(name)}: {_kind(content.get('schema', {}))}</p>"


def _schema(schema: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' *' if name in schema.get('required', ()) else ''}</td>"
        f"<td>{_kind(field)}</td><td>{escape(field.get('description', ''))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<p>{escape(schema.get('description', ''))}</p><table>{rows}</table>"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema's type in a word or two, with links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(map(_kind, schema[several]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("type", "anything")))


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{content}</body></html>"
    )
