"""With which keys a server starts, and when it doesn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from claude_server.app.guards import build_guards, install_guards, lacks_key
from claude_server.configuration.settings import ConfigError, Settings
from claude_server.http.guard.keyfile import KeyFile
from claude_server.http.guard.keys import KeyLimits
from claude_server.http.guard.ring import KeyRing


def settings(folder: Path, **more: Any) -> Settings:
    return Settings.model_validate({"state_dir": folder, **more})


def key_ring(some: Settings) -> KeyRing:
    return build_guards(some).ring


def test_without_keys_on_this_machine(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "127.8.8.8", "::1"):
        assert not key_ring(settings(tmp_path / "state", host=host)).required
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "fe80::1"])
def test_another_address_needs_a_key(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=rf"CLAUDE_API_HOST={host} .*keys add NAME.*API_KEY"):
        key_ring(settings(tmp_path, host=host))
    assert key_ring(settings(tmp_path, host=host, api_key="k")).required
    assert key_ring(settings(tmp_path, host=host, api_keys=("k",))).required
    KeyFile(tmp_path).add("a", KeyLimits())
    assert key_ring(settings(tmp_path, host=host)).required
    # A file with no key in it is no protection.
    KeyFile(tmp_path).revoke("a")
    with pytest.raises(ConfigError, match="CLAUDE_API_HOST"):
        key_ring(settings(tmp_path, host=host))


@pytest.mark.parametrize("origins", [("*",), ("http://a", "*")])
def test_every_page_needs_a_key(tmp_path: Path, origins: tuple[str, ...]) -> None:
    """Without one the server starts, since the wrapper's own .env has it; but no such page gets in."""

    def let_in(origin: str, **more: Any) -> bool:
        app = FastAPI()
        with capture_logs() as logs:
            install_guards(
                app, build_guards(chosen := settings(tmp_path, cors_origins=origins, **more)), chosen
            )
        assert [line["event"][:15] for line in logs] == ([] if more else ["CORS_ORIGINS=* "])
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        client = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1))
        return client.options("/", headers=asked).is_success

    assert let_in("http://b", api_key="k")
    assert not let_in("http://b")
    assert let_in("http://a") == ("http://a" in origins)
    assert lacks_key(settings(tmp_path, cors_origins=origins))
    assert not lacks_key(settings(tmp_path, cors_origins=("http://a",)))


def test_a_file_that_is_broken(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(ConfigError, match=r"keys\.json holds no keys that this version understands: move it"):
        key_ring(settings(tmp_path))


def test_the_keys_of_the_settings_have_names(tmp_path: Path) -> None:
    KeyFile(tmp_path).add("ci", KeyLimits())
    ring = key_ring(settings(tmp_path, api_key="one", api_keys=("two", "three")))
    assert [key.name for key in ring.current()] == ["API_KEY", "API_KEYS.1", "API_KEYS.2", "ci"]
    found = ring.find(b"three")
    assert found is not None and found.name == "API_KEYS.2"
