"""Whatever a CLI writes: the same events however its bytes are cut, and always a turn's end or an error."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from claude_server.core.errors import TurnError
from claude_server.core.model import AttemptRequest, Message, TextDelta, TurnDone, TurnEvent, TurnRequest
from claude_server.engine.processes.argv import Launch
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.control import Dialogue, conversation, initialize
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.frames import encode
from claude_server.engine.workers.attempt import CliAttempt
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script, attempt_spec
from claude_server.engine.workers.state import Abilities
from claude_server.engine.workers.worker import Worker
from tests.engine.lines import login_use
from tests.engine.scripted import ScriptedProcess

QUESTION = Message("user", ("Q",))
HISTORY = (Message("user", ("q",)), Message("assistant", ("a",)))
FUZZED = settings(max_examples=300, deadline=None, derandomize=True, database=None)


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "stream_event", "event": {"type": kind, **fields}}


def turn(texts: Sequence[str]) -> list[dict[str, Any]]:
    """The frames of a good turn, as the CLI sends them."""
    usage = {"input_tokens": 3, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 1}}
    message = {"id": "m", "model": "claude-x", "usage": usage, "content": []}
    whole = {**message, "content": [{"type": "text", "text": "".join(texts)}]}
    limit = {"status": "allowed", "resetsAt": 1_800_000_000, "rateLimitType": "five_hour"}
    return [
        {"type": "system", "subtype": "init", "session_id": "s", "tools": []},
        {"type": "rate_limit_event", "rate_limit_info": limit},
        event("message_start", message=message),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
            for text in texts
        ),
        {"type": "assistant", "uuid": "u", "message": whole},
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage),
        event("message_stop"),
        {
            "type": "result",
            "subtype": "success",
            "is_error": False,
            "api_error_status": None,
            "result": "".join(texts),
            "stop_reason": "end_turn",
            "total_cost_usd": 0.1,
            "usage": usage,
            "modelUsage": {"claude-x": {"inputTokens": 3, "outputTokens": 1}},
        },
    ]


class Stage:
    """An attempt on a scripted process."""

    abilities = Abilities()

    def __init__(self, *, whole_dialogue: bool = False) -> None:
        self.process = ScriptedProcess()
        self.returned = 0
        lease: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        lease.set_result(Worker(self.process, Launch(), self, lambda: 0.0))
        history = HISTORY if whole_dialogue else ()
        steps = [*([initialize("S")] if whole_dialogue else []), *conversation(history, QUESTION)]
        translator = TurnTranslator()
        spec = attempt_spec(AttemptRequest(TurnRequest("t", QUESTION), "", ()))
        self._script = Script(Dialogue(steps, translator), translator, spec)
        self.attempt = CliAttempt(lease, spec, login_use())

    def script(self, spec: AttemptSpec, worker: Worker, advice: LoginAdvice) -> Script:
        return self._script

    def release(self, worker: Worker, *, clean: bool) -> None:
        self.returned += 1

    def worker_ended(self, worker: Worker) -> None:
        raise AssertionError("in a turn, the attempt hears of the end")

    async def outcome(self) -> list[TurnEvent | TurnError]:
        """All events, and the error that ends them."""
        found: list[TurnEvent | TurnError] = []
        try:
            async for each in self.attempt:
                found.append(each)
        except TurnError as error:
            found.append(error)
        self.attempt.close()
        assert self.returned == 1
        return found


def played(pieces: Sequence[bytes], *, whole_dialogue: bool = False) -> list[TurnEvent | TurnError]:
    """What comes of these reads of the standard output, and the process's end after them."""

    async def play() -> list[TurnEvent | TurnError]:
        stage = Stage(whole_dialogue=whole_dialogue)
        # The greeting is answered in the next round of the loop.
        await asyncio.sleep(0)
        for piece in pieces:
            stage.process.pipe_data_received(1, piece)
        if not stage.process.ended:
            stage.process.exit(0)
        return await stage.outcome()

    return asyncio.run(play())


TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(TEXTS, st.lists(st.integers(0, 10_000)))
@FUZZED
def test_any_chunking_gives_the_same_events(texts: list[str], places: list[int]) -> None:
    data = encode(turn(texts))
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    cut = played([data[a:b] for a, b in itertools.pairwise(ends)])
    assert [type(each) for each in cut[-1:]] == [TurnDone]
    assert "".join(each.text for each in cut if isinstance(each, TextDelta)) == "".join(texts)
    assert [repr(each) for each in cut[:-1]] == [repr(each) for each in played([data])[:-1]]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything in a JSON value."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [path, *(each for key, item in inner for each in paths(item, (*path, key)))]


@st.composite
def broken_turns(draw: st.DrawFn) -> list[Any]:
    """A good turn in which values are replaced or missing, frames are lost, doubled and swapped."""
    frames: list[Any] = copy.deepcopy(turn(draw(TEXTS)))
    for _ in range(draw(st.integers(1, 4))):
        # Less often the frame itself: what isn't a frame at all ends a turn early.
        path = draw(st.sampled_from([each for each in paths(frames) if len(each) > 1]))
        place: Any = frames
        try:
            for step in path[:-1]:
                place = place[step]
            if draw(st.booleans()):
                place[path[-1]] = draw(JSON)
            else:
                del place[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
    order = draw(st.lists(st.integers(0, len(frames) - 1), max_size=2))
    return [*frames, *(frames[number] for number in order)]


def lines(frames: Sequence[Any]) -> bytes:
    # With NaN and infinity, which Python's parser takes.
    return b"".join(json.dumps(frame).encode() + b"\n" for frame in frames)


@given(broken_turns(), st.booleans())
@FUZZED
def test_any_frames_end_in_an_end_or_an_error(frames: list[Any], whole_dialogue: bool) -> None:
    """Nothing else comes out of the callbacks: there it would break the reading of the process."""
    taken = {"type": "result", "subtype": "success", "num_turns": 0}
    found = played([lines([*([taken] if whole_dialogue else []), *frames])], whole_dialogue=whole_dialogue)
    ends = [each for each in found if isinstance(each, TurnDone | TurnError)]
    assert len(ends) == 1
    assert found[-1] is ends[0]


@given(st.lists(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()), max_size=20))
@FUZZED
def test_any_bytes_end_in_an_error(chunks: list[bytes]) -> None:
    (end,) = played([b"\n".join(chunks), b"\n"])
    assert isinstance(end, TurnError)
