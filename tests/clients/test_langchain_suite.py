"""The whole of langchain-tests' ChatModelIntegrationTests, run in LangChain's own environment."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from claude_server.standin import StandIn
from tests.clients.actor import act
from tests.clients.environments import HERE, interpreter
from tests.clients.program import environment
from tests.proxy import Proxy
from tests.readme.document import DOCS, names, rows
from tests.support import PATIENCE

SUITE = HERE / "programs" / "langchain_suite.py"


def test_langchain_suite(api: StandIn, proxy: Proxy, tmp_path: Path) -> None:
    """All pass but those that docs/clients.md lists, and those fail or are skipped for the reason there."""
    api.responder = act
    report = tmp_path / "report.xml"
    pytest = [str(interpreter("langchain")), "-m", "pytest", str(SUITE), "--junitxml", str(report)]
    # Without what belongs to this run of pytest.
    alone = ["-c", os.devnull, "--rootdir", str(tmp_path), "--confcutdir", str(SUITE.parent)]
    loops = [f"asyncio_default_{of}_loop_scope=session" for of in ("fixture", "test")]
    settings = [word for setting in ("asyncio_mode=auto", *loops) for word in ("-o", setting)]
    ran = subprocess.run(
        [*pytest, *alone, "-p", "no:cacheprovider", "-p", "no:socket", *settings],
        cwd=tmp_path,
        env=environment(tmp_path, proxy),
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
    )
    assert ran.returncode == 0, ran.stdout
    cases = list(ElementTree.parse(report).iter("testcase"))
    others = {case.attrib["name"]: skipped.attrib for case in cases for skipped in case.iter("skipped")}
    written = {names(test)[0]: why for test, why in rows("langchain-tests", DOCS / "clients.md")}
    assert set(others) == set(written)
    for name, other in others.items():
        assert other["type"] == "pytest.skip" or other["message"] == written[name]
    assert len(cases) - len(others) > 40
