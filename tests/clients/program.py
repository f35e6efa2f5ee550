"""A client library at work in a process of its own, which answers one case after the other."""

from __future__ import annotations

import json
import select
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.environments import FOLDER, HERE, NODE, interpreter
from tests.proxy import Proxy
from tests.support import BASE_PATH, PATIENCE


def environment(home: Path, proxy: Proxy) -> dict[str, str]:
    """What a client may see: the server as OpenAI and as Anthropic, and a proxy that refuses all else."""
    return {
        "PATH": BASE_PATH,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "OPENAI_BASE_URL": f"{proxy.url}/v1",
        "OPENAI_API_BASE": f"{proxy.url}/v1",
        "OPENAI_API_KEY": "not-used",
        "ANTHROPIC_BASE_URL": proxy.url,
        "ANTHROPIC_API_KEY": "not-used",
        "HTTP_PROXY": proxy.url,
        "HTTPS_PROXY": proxy.url,
        "NO_PROXY": "127.0.0.1",
        # It asks the web for prices and for names of betas, else.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    }


class Program:
    """`programs/NAME.py` (or `.mjs`) in the environment of `group`. Its stderr is kept in a file."""

    def __init__(self, group: str, name: str, home: Path, proxy: Proxy) -> None:
        file = HERE / "programs" / name
        if group == NODE:
            # Node looks for packages beside the file, not beside the folder that it is started in.
            (home / "node_modules").symlink_to(FOLDER / NODE / "node_modules")
            for module in (file, HERE / "programs" / "served.mjs"):
                (home / module.name).write_text(module.read_text())
            file = home / name
        self._errors = home / f"{name}.stderr"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [str(interpreter(group)), str(file)],
                env=environment(home, proxy),
                cwd=home,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )

    def __call__(self, case: str, **arguments: Any) -> Any:
        """What a case found out; a case that fails there fails here."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"case": case, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if ready else ""
        assert line, f"the program ended or hangs:\n{self._errors.read_text()}"
        answer = json.loads(line)
        assert "failure" not in answer, answer["failure"]
        return answer["result"]

    def stop(self) -> None:
        """It has nothing to put away."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
