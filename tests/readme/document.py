"""The README and the pages under docs/ as their tests read them, and the part of them that is generated.

`python -m tests.readme.document` writes anew the tables of the settings and of the parameters, and the
version of the CLI that requirements-cli.txt brings.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_server.configuration import settings as config
from claude_server.configuration.fields import default_text
from claude_server.dialects.base import Dialect
from claude_server.dialects.table import DIALECTS
from tests.conftest import newest_cli
from tests.support import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
ARCHITECTURE = DOCS / "ARCHITECTURE.md"
DEPLOYING = DOCS / "deploying.md"
FAULTS = DOCS / "faults.md"
ENGINE = DOCS / "engine.md"
ENDPOINTS = DOCS / "endpoints.md"
ERRORS = DOCS / "errors.md"
KEYS = DOCS / "keys.md"
LOGIN = DOCS / "login.md"
MIGRATING = DOCS / "migrating.md"
PARAMETERS = DOCS / "parameters.md"
SESSIONS = DOCS / "sessions.md"
SECURITY = ROOT / "SECURITY.md"
SETTINGS = DOCS / "settings.md"
PAGES = (README, *sorted(DOCS.glob("*.md")))
_SETTINGS = re.compile(r"(?<=<!-- settings -->\n).*(?=<!-- /settings -->\n)", re.DOTALL)
# In what the start prints, and last among the versions that are tested.
_NEWEST = re.compile(r"(?<=^claude CLI )[\d.]+\d(?=, )|(?<= and )[\d.]+\d(?=\.$)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    `page`: a file name; `section`: the nearest heading above; `line`: where the fence opens, from 1.
    """

    page: str
    section: str
    language: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    section, inside, opened = "", None, 0
    held: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if inside is not None:
            if line == "```":
                found.append(Block(path.name, section, inside, "\n".join(held) + "\n", opened))
                inside = None
            else:
                held.append(line)
        elif line.startswith("```"):
            inside, opened, held = line.removeprefix("```"), number, []
        elif line.startswith("#"):
            section = line.lstrip("#").strip()
    assert inside is None, f"{path.name}: the block of line {opened} doesn't end"
    return found


def section(heading: str, path: Path) -> str:
    """The text under a heading, up to the next one of its level or above."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"{path.name} has no section '{heading}'"
    return found[2]


def rows(heading: str, path: Path) -> list[list[str]]:
    """The cells of the first table of a section, without its head."""
    found = re.search(r"(?:^\|.*\n)+", section(heading, path), re.MULTILINE)
    assert found, f"the section '{heading}' has no table"
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[0].splitlines()[2:]]


def anchors(path: Path) -> set[str]:
    """What a link can name after the `#`: GitHub's names for the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def names(text: str) -> list[str]:
    """What is written as code in a text."""
    return re.findall(r"`([^`]+)`", text)


def settings_table() -> str:
    """Every setting as a row, from its own description."""
    lines = ["| setting | option | default | what it is |", "|---|---|---|---|"]
    for name, env, field in config.setting_fields():
        also = "".join(f", `{other}`" for other in env.names[1:])
        default = default_text(name, field)
        code = default if default in ("none", "the user's state folder") else f"`{default}`"
        what = (field.description or "").replace("|", "\\|")
        option = f"`{env.option}`" if env.option else "environment only"
        lines.append(f"| `{env.names[0]}`{also} | {option} | {code} | {what} |")
    return "\n".join(lines) + "\n"


def parameters_table(dialect: Dialect[Any]) -> str:
    """Every parameter of a dialect as a row, from the table that decides what becomes of it."""
    words = {"honour": "honoured", "ignore": "ignored", "refuse": "refused"}
    lines = ["| parameter | | how, or why |", "|---|---|---|"]
    lines += [f"| `{name}` | {words[rule.answer]} | {rule.why} |" for name, rule in dialect.rules.items()]
    return "\n".join(lines) + "\n"


def _table_of(dialect: Dialect[Any]) -> re.Pattern[str]:
    """Where docs/parameters.md has the dialect's table."""
    mark = f"{dialect.name} parameters"
    return re.compile(rf"(?<=<!-- {mark} -->\n).*(?=<!-- /{mark} -->\n)", re.DOTALL)


def written_parameters_table(dialect: Dialect[Any]) -> str:
    """The table as docs/parameters.md has it."""
    found = _table_of(dialect).search(PARAMETERS.read_text(encoding="utf-8"))
    assert found, f"{PARAMETERS.name} has no <!-- {dialect.name} parameters --> ... <!-- /... -->"
    return found[0]


def written_settings_table() -> str:
    """The table as docs/settings.md has it."""
    found = _SETTINGS.search(SETTINGS.read_text(encoding="utf-8"))
    assert found, f"{SETTINGS.name} has no <!-- settings --> ... <!-- /settings -->"
    return found[0]


def with_the_newest_cli(text: str) -> str:
    """The README's text with the version of the newest CLI where it shows that of an older one."""
    told = subprocess.run([newest_cli(), "--version"], capture_output=True, text=True, check=True).stdout
    return _NEWEST.sub(told.split()[0], text)


def main() -> int:
    README.write_text(with_the_newest_cli(README.read_text(encoding="utf-8")), encoding="utf-8")
    text = SETTINGS.read_text(encoding="utf-8")
    SETTINGS.write_text(_SETTINGS.sub(lambda _: settings_table(), text), encoding="utf-8")
    text = PARAMETERS.read_text(encoding="utf-8")
    for dialect in DIALECTS:
        before, _, after = text.partition(written_parameters_table(dialect))
        text = f"{before}{parameters_table(dialect)}{after}"
    PARAMETERS.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
