"""Processes that can't be started: the table says so as an error of a turn."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

import pytest

from claude_server.core.errors import CliFailed, NotReady, Overloaded, TurnError
from claude_server.core.model import SessionPlan
from claude_server.engine.processes import transcripts
from claude_server.engine.processes.argv import Launch
from claude_server.engine.processes.binary_cache import signature_of
from claude_server.engine.processes.process import CliProcess
from claude_server.engine.processes.table import ProcessTable, private_folder
from claude_server.engine.protocol.frames import Frame
from tests.support import wait_until_gone

UUID = "0b4e7a0e-5c3a-4b53-8d8e-3a3f0a3f0a3f"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def table(state: Path, binary: str = "/bin/true") -> ProcessTable:
    return ProcessTable(binary, signature_of(binary), state, {"HOME": str(state)}, "")


def transcript_of(made: ProcessTable) -> Path:
    return transcripts.transcript(made.cwd.parent / ".claude", made.cwd, UUID)


async def refusal(made: ProcessTable, launch: Launch) -> TurnError:
    with pytest.raises(TurnError) as raised:
        await made.start(launch)
    assert len(made) == 0
    await made.close()
    return raised.value


def test_its_folders_are_private(state: Path) -> None:
    made = table(state)
    for folder in (made.cwd, made.tmp):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder(made.tmp) == made.tmp


async def test_what_cannot_be_started_at_all(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def spawn(*arguments: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("claude_server.engine.processes.table.spawn", spawn)
    made = table(state)
    error = await refusal(made, Launch())
    assert isinstance(error, NotReady)
    assert "CLAUDE_BIN" in error.message


async def test_a_system_that_can_take_no_more(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def spawn(*arguments: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("claude_server.engine.processes.table.spawn", spawn)
    made = table(state)
    error = await refusal(made, Launch())
    assert isinstance(error, Overloaded)
    assert error.retry_after == 1.0
    # The folder that was made for it is gone.
    assert list((made.tmp).glob("*/*")) == []


async def test_a_start_that_is_given_up_leaves_no_folder(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def spawn(*arguments: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("claude_server.engine.processes.table.spawn", spawn)
    made = table(state)
    starting = asyncio.create_task(made.start(Launch()))
    await begun.wait()
    assert len(list(made.tmp.glob("*/*"))) == 1
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert list(made.tmp.glob("*/*")) == []
    await made.close()


@pytest.fixture
def lasting(tmp_path: Path) -> str:
    """A program that says what it is told until it is ended."""
    program = tmp_path / "lasting"
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o700)
    return str(program)


async def heard(process: CliProcess) -> Frame | None:
    """The next frame of a process, None if it ends before."""
    found: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()

    class Ear:
        def frame(self, frame: Frame) -> None:
            found.set_result(frame)

        def ended(self, problem: str | None) -> None:
            found.set_result(None)

    process.listener = Ear()
    return await asyncio.wait_for(found, 10.0)


async def test_what_runs_elsewhere_outlives_the_end_of_a_table(
    state: Path, tmp_path: Path, lasting: str
) -> None:
    """An updated CLI is tried out while turns still run on the one before."""
    serving, trying = table(state, lasting), table(tmp_path / "trial", lasting)
    ours, other = await serving.start(Launch()), await trying.start(Launch())
    await trying.close()
    assert other.exited.is_set()
    ours.write(b'{"type": "alive"}\n')
    assert await heard(ours) == {"type": "alive"}
    await serving.close()


async def test_no_process_of_another_binary_is_handed_out(state: Path, lasting: str) -> None:
    """A turn may have waited for its process while the CLI was updated: what the new one does with the steps
    for the old one isn't known. It would keep the system prompt of the turn before."""
    made = table(state, lasting)
    ours = await made.start(Launch())
    other = Path(lasting).with_name("other")
    other.write_text("#!/bin/sh\nexec cat # another one\n")
    other.chmod(0o700)
    other.replace(lasting)
    with pytest.raises(CliFailed, match="replaced"):
        await made.start(Launch())
    assert not ours.exited.is_set()
    await made.close()
    assert len(made) == 0


async def test_two_tables_on_one_state_folder_share_nothing(state: Path, lasting: str) -> None:
    """What a process leaves is found, and removed, by its folder."""
    old, new = table(state, lasting), table(state, lasting)
    first = await old.start(Launch())
    assert len(list(old.tmp.glob("*/*"))) == 1
    second = await new.start(Launch())
    assert len(list(old.tmp.glob("*/*"))) == 2
    new.retire(second, now=True)
    await second.exited.wait()
    assert not first.exited.is_set()
    await new.close()
    await old.close()


async def test_what_a_killed_server_of_the_same_id_left_is_nobodys(
    state: Path, lasting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, where the id is always the same."""
    made = table(state, lasting)
    monkeypatch.setattr("claude_server.engine.processes.table._folder_numbers", itertools.count(1))
    left = made.tmp / str(os.getpid()) / "1" / "secret"
    left.parent.mkdir(parents=True)
    left.touch()
    await made.start(Launch())
    (fresh,) = (folder for folder in left.parent.parent.iterdir() if folder != left.parent)
    assert (fresh.name, list(fresh.iterdir())) == ("2", [])
    assert fresh.stat().st_mode & 0o777 == 0o700
    await made.close()
    assert list(made.tmp.iterdir()) == []


async def test_what_left_its_group_ends_with_the_table(state: Path, tmp_path: Path) -> None:
    program = tmp_path / "leaving"
    program.write_text("""#!/bin/sh
read go
setsid sleep 600 </dev/null >/dev/null 2>&1 &
echo "{\\"type\\": \\"$!\\"}"
exec cat
""")
    program.chmod(0o700)
    made = table(state, str(program))
    process = await made.start(Launch())
    process.write(b"go\n")
    told = await heard(process)
    assert told is not None
    await made.close()
    wait_until_gone([int(told["type"])])


async def test_a_folder_that_cannot_be_made(state: Path) -> None:
    """Anything else than a TurnError would leave who waits for the process waiting."""
    made = table(state)
    (made.tmp / str(os.getpid())).write_text("in the way")
    assert isinstance(await refusal(made, Launch()), TurnError)


CREATE = Launch(session=SessionPlan(UUID, "create"))


async def test_a_transcript_in_the_place_of_a_new_one_is_kept(state: Path) -> None:
    made = table(state)
    transcript = transcript_of(made)
    transcript.parent.mkdir(parents=True)
    for content in ("first", "second"):
        transcript.write_text(content)
        await made.start(CREATE)
        (old,) = transcript.parent.iterdir()
        assert (old.name, old.read_text()) == (f"{UUID}.jsonl.old", content)
    await made.close()


async def test_a_transcript_that_cannot_be_set_aside(state: Path) -> None:
    made = table(state)
    transcript = transcript_of(made)
    transcript.with_suffix(".jsonl.old").mkdir(parents=True)
    transcript.write_text("old")
    assert isinstance(await refusal(made, CREATE), TurnError)
    assert transcript.read_text() == "old"


async def test_a_system_prompt_for_the_plain_way_is_in_a_file(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def look(file: Path) -> None:
        seen.append(file.read_text(encoding="utf-8"))
        assert file.parent.stat().st_mode & 0o777 == 0o700

    async def spawn(command: list[str], *arguments: object) -> None:
        look(Path(command[command.index("--system-prompt-file") + 1]))
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("claude_server.engine.processes.table.spawn", spawn)
    for text in ("Be kind.", "", "\u00e9\n\u2028", "lone \ud800"):
        await refusal(table(state), Launch(plain=text))
    assert seen == ["Be kind.", "", "\u00e9\n\u2028", "lone ?"]


# Begins to write its own file anew, as the CLI does while it starts, and doesn't come to an end.
HALF_WAY = """#!/bin/sh
mkdir -p "$HOME/.claude/sessions"
touch "$HOME/.claude/sessions/$$.json" "$HOME/.claude.json.tmp.$$.0123456789ab"
echo '{"type":"ready"}'
exec sleep 60
"""


@pytest.fixture
def half_way(state: Path, tmp_path: Path) -> str:
    """Such a CLI, with files of another process's in its home, which may be about to finish."""
    binary = tmp_path / "claude"
    binary.write_text(HALF_WAY)
    binary.chmod(0o755)
    state.mkdir()
    for name in (".claude.json", f".claude.json.tmp.{os.getpid()}.0123456789ab"):
        (state / name).touch()
    return str(binary)


def names(folder: Path, pattern: str) -> set[str]:
    return {path.name for path in folder.glob(pattern)}


async def test_what_a_killed_process_had_begun_to_write_goes_with_it(state: Path, half_way: str) -> None:
    before = names(state, ".claude.json*")
    made = table(state, half_way)
    process = await made.start(Launch())
    assert await heard(process) == {"type": "ready"}
    assert names(state, ".claude.json*") - before == {f".claude.json.tmp.{process.pid}.0123456789ab"}
    made.retire(process, now=True)
    await made.close()
    assert names(state, ".claude.json*") == before
    assert names(state, ".claude/sessions/*") == set()
