"""Each implementation of the stores, for the suites that hold them to the same words."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.stores.implementations import IMPLEMENTATIONS, Implementation
from tests.stores.other_server import OtherServer, other_server


@pytest.fixture(params=IMPLEMENTATIONS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kind(name: str) -> Implementation:
    return IMPLEMENTATIONS[name]


@pytest.fixture
def another(name: str, tmp_path: Path) -> Callable[[], AbstractContextManager[OtherServer]]:
    """Another server on the same store, each time it is called."""
    return lambda: other_server(name, tmp_path)
