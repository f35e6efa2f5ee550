"""Finds out what an installed CLI can really do, by what reaches a stand-in for the API on loopback.

Acknowledgements are not believed: a CLI may accept a control message and do something else. Each check has a
config folder of its own, a made-up key and no network.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import structlog

from claude_cli import control, frames, state
from claude_cli.argv import Launch
from claude_cli.control import Answer, Dialogue, Step, conversation, initialize
from claude_cli.events import TurnTranslator
from claude_cli.frames import Frame
from claude_cli.process import CliProcess
from claude_cli.state import Abilities, Need
from claude_cli.table import ProcessTable
from standin import ApiError, ApiRequest, StandIn
from turns.errors import CliFailed, TurnError, TurnTimeout
from turns.model import Message

log = structlog.get_logger("claude_cli")

_STEP_WITHIN = 10.0
_BASE = "selftest base prompt"
# No alias, and none of the ids that aliases stand for.
_UNLISTED = "claude-selftest-1"


class _Conversation:
    """Talks steps to one process, one batch at a time."""

    def __init__(self, process: CliProcess) -> None:
        self._process = process
        self._dialogue: Dialogue | None = None
        self._over = asyncio.Event()
        self._error: TurnError | None = None
        process.listener = self

    def frame(self, frame: Frame) -> None:
        if self._dialogue is None:
            return
        try:
            data, _ = self._dialogue.receive(frame)
            self._process.write(data)
        except TurnError as error:
            self._error = error
        except (KeyError, TypeError, AttributeError) as error:
            self._error = CliFailed(f"a line that makes no sense: {error!r}")
        if self._error is not None or self._dialogue.done:
            self._over.set()

    def ended(self, problem: str | None) -> None:
        self._error = self._error or CliFailed(problem or "the process ended")
        self._over.set()

    async def talk(self, steps: Sequence[Step]) -> None:
        """Run the steps to their end. Raises TurnError."""
        self._over.clear()
        self._error = None
        self._dialogue = Dialogue(steps, TurnTranslator())
        self._process.write(self._dialogue.start())
        try:
            await asyncio.wait_for(self._over.wait(), _STEP_WITHIN)
        except asyncio.TimeoutError:
            raise TurnTimeout(f"no answer within {_STEP_WITHIN:g} s") from None
        if self._error is not None:
            raise self._error


class SelfTest:
    """One run over one binary; `run()` gives the abilities."""

    def __init__(self, table: ProcessTable, api: StandIn) -> None:
        self._table = table
        self._api = api
        # A slow answer on a busy machine says nothing of the CLI.
        self.sure = True

    async def run(self) -> Abilities:
        """All checks, each on a process of its own."""
        found = {name: await self._check(name, check) for name, check in self._checks().items()}
        if found.pop("probes_models") and not found.pop("custom_model"):
            # A worker would pay for each model it is set to: start each for its model instead.
            return Abilities(**{**found, "set_model": False, "set_system": False}, probes_models=True)
        found.pop("custom_model", None)
        return Abilities(**found, probes_models=self._probes)

    def _checks(self) -> Mapping[str, Callable[[_Conversation], Awaitable[bool]]]:
        return {
            "stream_json": self._stream_json,
            "literal_slash": self._literal_slash,
            "single_400": self._single_400,
            "inject": self._inject,
            "empty": self._empty,
            "set_model": self._set_model,
            "set_system": self._set_system,
            "set_flags": self._set_flags,
            "probes_models": self._probes_models,
            "custom_model": self._custom_model,
        }

    async def _check(self, name: str, check: Callable[[_Conversation], Awaitable[bool]]) -> bool:
        self._api.reset()
        launch = Launch(custom_model=_UNLISTED) if name == "custom_model" else Launch()
        process: CliProcess | None = None
        try:
            process = await self._table.start(launch)
            talk = _Conversation(process)
            await talk.talk([initialize(_BASE)])
            return await check(talk)
        except TurnError as error:
            log.debug("self-test check failed", check=name, problem=error.message)
            self.sure = self.sure and not isinstance(error, TurnTimeout)
            return False
        finally:
            if process is not None:
                self._table.retire(process, now=True)

    def _last(self) -> ApiRequest:
        if not self._api.turns:
            raise CliFailed("nothing reached the API")
        return self._api.last

    async def _ask(self, talk: _Conversation, text: str) -> ApiRequest:
        """Ask on an emptied conversation."""
        (question,) = conversation((), Message("user", (text,)))
        await talk.talk([Step((frames.boundary(), *question.frames), Answer.TURN)])
        return self._last()

    async def _stream_json(self, talk: _Conversation) -> bool:
        await talk.talk(conversation((), Message("user", ("selftest one",))))
        seen = self._last()
        return seen.conversation == [("user", "selftest one")] and seen.system_texts[-1] == _BASE

    async def _literal_slash(self, talk: _Conversation) -> bool:
        await talk.talk(conversation((), Message("user", ("/clear @/etc/hostname",))))
        return self._last().conversation == [("user", " /clear @/etc/hostname")]

    async def _single_400(self, talk: _Conversation) -> bool:
        self._api.push(*[ApiError.bad_request("selftest refusal")] * 5)
        with contextlib.suppress(TurnError):
            await talk.talk(conversation((), Message("user", ("selftest",))))
        return len(self._api.turns) == 1

    async def _inject(self, talk: _Conversation) -> bool:
        history = (Message("user", ("/one",)), Message("assistant", ("two",)))
        await talk.talk(conversation(history, Message("user", ("three",))))
        told = [("user", " /one"), ("assistant", "two"), ("user", "three")]
        return self._last().conversation == told and len(self._api.turns) == 1

    async def _empty(self, talk: _Conversation) -> bool:
        await talk.talk(conversation((), Message("user", ("selftest before",))))
        after = await self._ask(talk, "selftest after")
        return after.conversation == [("user", "selftest after")] and b"selftest before" not in after.raw

    async def _set_model(self, talk: _Conversation) -> bool:
        return await self._switches(talk, (_BASE, _BASE, _BASE), told=False)

    async def _set_system(self, talk: _Conversation) -> bool:
        return await self._switches(talk, ("first prompt", "second prompt", "third prompt"), told=True)

    async def _switches(self, talk: _Conversation, prompts: Sequence[str], *, told: bool) -> bool:
        """To a model, back to the default, and to it again; each time the request must hold the prompt that
        was `told` (or the first one), the question, and nothing else."""
        for model, prompt in zip(("haiku", None, "haiku"), prompts, strict=True):
            named = {"model": model} if model else {}
            prompted = {"system_prompt": prompt} if told else {}
            request = control.control("set_model", **named, **prompted)
            await talk.talk([Step((frames.boundary(), request), Answer.ACKS)])
            seen = await self._ask(talk, "selftest question")
            if seen.conversation != [("user", "selftest question")] or seen.system_texts[-1] != prompt:
                return False
            if told and _BASE.encode() in seen.raw:
                return False
        first, default, again = (turn.model for turn in self._api.turns)
        return first == again != default

    async def _set_flags(self, talk: _Conversation) -> bool:
        limits = []
        for limit in (None, 777, None):
            await talk.talk([Step((state.flags(Need(max_output_tokens=limit)),), Answer.ACKS)])
            limits.append((await self._ask(talk, "selftest")).body.get("max_tokens"))
        return limits[1] == 777 and limits[0] == limits[2] != 777

    async def _probes_models(self, talk: _Conversation) -> bool:
        self._probes = await self._extra_request(talk)
        return self._probes

    async def _custom_model(self, talk: _Conversation) -> bool:
        return not await self._extra_request(talk)

    _probes = False

    async def _extra_request(self, talk: _Conversation) -> bool:
        request = control.control("set_model", model=_UNLISTED, system_prompt="selftest")
        await talk.talk([Step((frames.boundary(), request), Answer.ACKS)])
        await self._ask(talk, "selftest")
        return len(self._api.turns) > 1


async def run(binary: str, path: str) -> tuple[Abilities, bool]:
    """Try the CLI at `binary`; `path` is the PATH that it may need. Takes a few seconds and no network.

    The second value tells whether every check came to an end: a doubtful result is not to be kept.
    """
    with tempfile.TemporaryDirectory(prefix="claude-api-") as folder, StandIn() as api:
        environ = {
            "PATH": path,
            "HOME": folder,
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "sk-ant-selftest",
        }
        table = ProcessTable(binary, Path(folder) / "state", environ, "")
        try:
            test = SelfTest(table, api)
            return await test.run(), test.sure
        finally:
            await table.close()


class AbilityStore:
    """Abilities by binary, in a file, so that a CLI is tried once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, key: str) -> Abilities | None:
        """What was found for this binary, if anything can be read."""
        try:
            stored = json.loads(self._path.read_text())[key]
            return Abilities(**{field.name: bool(stored[field.name]) for field in fields(Abilities)})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, key: str, abilities: Abilities) -> None:
        """Keep it, alone: an older binary's are of no use. A file that can't be written does no harm."""
        fresh = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps({key: asdict(abilities)}, indent=2))
            fresh.chmod(0o600)
            fresh.replace(self._path)
