"""The dialogue with one claude process as a state machine: steps to write, and the frames that answer them.

A step is one write. The next step follows when the answer that the step expects has come. No I/O.

States of a Dialogue, by its index: *not begun* (-1); *waiting* for the answer to step i; *done* (past the
last step). It only goes forward, one step at a time:

    not begun --start--> waiting for step 0 --its answer--> ... waiting for the last --its answer--> done

`start` moves it once, by the one who owns the process; from then on only `receive` does, and only on what the
current step expects: for ACKS a success to each request of that write, in any order; for INJECTED the result
of a message that asked nothing; for TURN whatever makes the translator `done`. Any other frame leaves the
state as it is, except that requests of the process are answered in every state: it may wait for that answer
before it goes on. A refused control message, or a result where none may be, is a TurnError. After it the
conversation in the process isn't what the steps wanted, so nothing may be said to the process again.

Why one at a time: the CLI reads its input ahead and puts messages that ask nothing in order only between two
of its own turns. What is written before the answer to the message before it may overtake that message.

A cut: once the translator says `cut` an interrupt is written, once, and the state stays at the turn's step
until the result comes. An owner that is cancelled just stops calling. The process is then somewhere between
two steps, and whether it can be used is the translator's word: `clean` is set by a turn's result, and by
nothing else.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from claude_server.core.errors import CliFailed
from claude_server.core.model import (
    ApiBlock,
    Block,
    Document,
    Image,
    Message,
    RedactedThinking,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    TurnEvent,
)
from claude_server.engine.protocol import frames, mcp
from claude_server.engine.protocol.costs import total_cost
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.protocol.frames import Frame
from claude_server.engine.protocol.waiting import WaitingCalls


class Expect(Enum):
    """The answer that completes a step."""

    ACKS = auto()  # a control_response to each of its control requests
    INJECTED = auto()  # the result of a message that asked nothing
    TURN = auto()  # the result of the turn


@dataclass(frozen=True, slots=True)
class Step:
    """Frames for one write, and what must come back before the next step."""

    frames: tuple[Frame, ...]
    expect: Expect

    @property
    def request_ids(self) -> frozenset[str]:
        return frozenset(f["request_id"] for f in self.frames if f["type"] == "control_request")


# In an exercise; more of them save nothing more.
_EXCHANGES = 3
_request_numbers = itertools.count(1)


def control(subtype: str, **fields: object) -> Frame:
    """A control request with a fresh id."""
    return frames.control_request(f"r{next(_request_numbers)}", subtype, **fields)


def initialize(system: str, server: str | None = None) -> Step:
    """The first step of a process: sets its system prompt, of any length, and names its tool server."""
    # The prompt is a string: CLIs before 2.1.120 ignore a list.
    servers = {"sdkMcpServers": [server]} if server is not None else {}
    return Step((control("initialize", systemPrompt=system, **servers),), Expect.ACKS)


def are_you_there() -> Step:
    """A request that a process answers within milliseconds, without asking the API for anything."""
    return Step((control("mcp_status"),), Expect.ACKS)


def exercise() -> list[Step]:
    """Steps that ask the model nothing, and have a fresh process run the code that takes messages in once:
    its first turn then takes half of the CPU. What they say has to be emptied before a turn."""
    said, answered = ("1",), ("2",)
    first = Step((frames.user(said, query=False),), Expect.INJECTED)
    further = [(frames.assistant(answered), frames.user(said, query=False)) for _ in range(_EXCHANGES)]
    return [first, *(Step(exchange, Expect.INJECTED) for exchange in further)]


def conversation(history: Sequence[Message], question: Message, model: str = "") -> list[Step]:
    """Steps that put `history` into an empty conversation as real messages and ask `question`.

    `history` begins with a user message and alternates. Each earlier user message must be answered by the
    process before the next line goes out, or the lines reorder; an assistant line shares the next write.
    `model`: the id of the model in use, which earlier thoughts are for ("": the CLI leaves them out).
    """
    steps: list[Step] = []
    pending: list[Frame] = []
    for message in history:
        if message.role == "assistant":
            pending.append(frames.assistant(message.blocks, model))
        else:
            steps.append(Step((*pending, frames.user(message.blocks, query=False)), Expect.INJECTED))
            pending = []
    steps.append(Step((*pending, frames.user(question.blocks)), Expect.TURN))
    return steps


def flattened(history: Sequence[Message], question: Message) -> list[Step]:
    """One step that asks `question` after the history as text: for CLIs that can't take earlier messages.
    Images and documents follow the text, in their order."""
    if not history:
        return conversation((), question)
    media = [b for m in (*history, question) for b in m.blocks if isinstance(b, Image | Document | ApiBlock)]
    return conversation((), Message("user", (transcript_text(history, question), *media)))


def transcript_text(history: Sequence[Message], question: Message) -> str:
    """A conversation as one text that asks for the next answer."""
    names = {"user": "User", "assistant": "Assistant"}
    parts = [names[m.role] + ": " + "\n".join(_block_texts(m)) for m in (*history, question)]
    return "\n\n".join([*parts, "Assistant:"])


def _block_texts(message: Message) -> list[str]:
    """A message's blocks as texts. Thoughts are left out: as text they would be something said."""
    return [_block_text(b) for b in message.blocks if not isinstance(b, Thinking | RedactedThinking)]


def _block_text(block: Block) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, ToolUse):
        return f"[call {block.id} of {block.name}: {json.dumps(block.input)}]"
    if isinstance(block, ToolResult):
        return f"[result of call {block.id}: {' '.join(map(_block_text, block.blocks))}]"
    return "[an image, below]" if isinstance(block, Image) else "[a document, below]"


class Dialogue:
    """Runs `steps` against one process; `done` once the last step has its answer.

    `translator` turns the frames of the turn into events. `tools` are listed to the process on request.
    `deny_message`: the answer to every permission request; None leaves them unanswered, so the CLI waits.
    `calls`: what such a turn may do at its calls; None: it is interrupted there.
    """

    closes_input = False

    def __init__(
        self,
        steps: Sequence[Step],
        translator: TurnTranslator | None = None,
        tools: Sequence[Tool] = (),
        *,
        deny_message: str | None = None,
        calls: WaitingCalls | None = None,
    ) -> None:
        self._steps = list(steps)
        self._tools = tools
        self._deny_message = deny_message
        self._calls = calls
        self._index = -1
        self._waiting: set[str] = set()
        self._translator = translator
        self.answers: list[Frame] = []

    @property
    def done(self) -> bool:
        return self._index >= len(self._steps)

    def start(self) -> bytes:
        """The first write."""
        return self._advance()

    def receive(self, frame: Frame) -> tuple[bytes, Sequence[TurnEvent]]:
        """One frame in, (bytes to write, events) out. Raises TurnError; then the process is unusable."""
        kind = frame["type"]
        if kind == "control_request":
            answer = self._answer_control_request(frame["request_id"], frame["request"])
            return answer + self._settled(), ()
        if self.done or self._index < 0:
            return b"", ()
        expect = self._steps[self._index].expect
        if kind == "control_response":
            return self._acknowledged(frame["response"])
        if expect is Expect.TURN and self._translator is not None:
            if self._calls is not None and self._calls.hears(frame):
                return b"", ()
            cut = self._translator.cut
            events = self._translator.translate(frame)
            if self._translator.cut and not cut:
                return frames.encode([control("interrupt")]), events
            return (self._advance() if self._translator.done else self._settled()), events
        if expect is Expect.INJECTED and kind == "result":
            if frame.get("is_error") or frame.get("num_turns"):
                raise CliFailed("The claude CLI didn't take an earlier message of the conversation.")
            return self._advance(), ()
        return b"", ()

    def _answer_control_request(self, request_id: str, request: Frame) -> bytes:
        """The answer to a control request of the process, encoded; empty for none."""
        if request["subtype"] == "can_use_tool":
            if self._deny_message is not None:
                refused = {"behavior": "deny", "message": self._deny_message}
                return frames.encode([frames.control_answer(request_id, refused)])
            # Unanswered, it waits: the model isn't asked again.
            return frames.encode(self._calls.asked(request_id, request)) if self._calls else b""
        if request["subtype"] != "mcp_message":
            return frames.encode([frames.control_refusal(request_id, "not served")])
        message = request["message"]
        answer = self._calls.called(message) if self._calls is not None else None
        answer = answer or mcp.answer(request["server_name"], message, self._tools)
        if answer is None:
            return b""
        return frames.encode([frames.control_answer(request_id, {"mcp_response": answer})])

    def _settled(self) -> bytes:
        """What to write if the turn has come to calls that wait."""
        if self._calls is None or self._translator is None:
            return b""
        return frames.encode(self._calls.settle(self._translator))

    def _acknowledged(self, response: Frame) -> tuple[bytes, Sequence[TurnEvent]]:
        if self._calls is not None and self._translator is not None and self._calls.is_cost(response):
            done = self._translator.suspend(total_cost(response.get("response") or {}))
            return self._advance(), (done,)
        return self._step_acknowledged(response), ()

    def _step_acknowledged(self, response: Frame) -> bytes:
        if response["request_id"] not in self._waiting:
            return b""
        if response["subtype"] != "success":
            raise CliFailed(f"The claude CLI refused a control message: {response.get('error')}")
        self.answers.append(response.get("response") or {})
        self._waiting.discard(response["request_id"])
        if self._waiting or self._steps[self._index].expect is not Expect.ACKS:
            return b""
        return self._advance()

    def _advance(self) -> bytes:
        self._index += 1
        if self.done:
            return b""
        step = self._steps[self._index]
        self._waiting = set(step.request_ids)
        return frames.encode(step.frames)
