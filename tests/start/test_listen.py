"""Where a server is found."""

from __future__ import annotations

import pytest

from start.listen import url_of


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("192.168.1.2", "http://192.168.1.2:8000"),
        # No client can ask for these.
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
    ],
)
def test_the_url_that_is_shown(host: str, url: str) -> None:
    assert url_of(host, 8000) == url
