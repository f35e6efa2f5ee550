"""Translates the frames of one turn into turn events. No I/O."""

from __future__ import annotations

import json
import string
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, get_args

from claude_server.core.errors import CliFailed, NotReady
from claude_server.core.model import (
    NO_RESULT,
    BlockEnded,
    Citation,
    OpenCall,
    RedactedThinking,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    TurnDone,
    TurnEvent,
    TurnStarted,
    Usage,
)
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.argument_names import ArgumentNames
from claude_server.engine.protocol.blocks import AnswerBlock, AnswerTool, RenamedCall, StopText, ThinkingText
from claude_server.engine.protocol.cli_tool_events import OUT_OF_TURNS, CliToolTracker
from claude_server.engine.protocol.failures import Refusal, error_from_result, status_of
from claude_server.engine.protocol.frames import Frame
from claude_server.engine.protocol.held_answer import HeldAnswer

_STOP_REASONS = frozenset(get_args(StopReason))
# After these the CLI asks the model again by itself: to go on, up to three times, or to say something else;
# or it waits for leave to call a tool. None was asked for by the client, and each request is paid for.
_CLI_CONTINUES_AFTER = frozenset({"max_tokens", "model_context_window_exceeded", "refusal", "tool_use"})
# What a session's model is told, in the next turn, of the call that gave a structured answer.
_ANSWER_TAKEN = "The answer was delivered."
# After these too, if the answer has no visible text.
_NO_MORE_TO_SAY = frozenset({"end_turn", "stop_sequence"})
# What the CLI, a program in JavaScript, takes for blank.
_BLANK = f"{string.whitespace}\u00a0\ufeff\u2028\u2029"
# Model name the CLI gives to messages of its own, such as the text of an error.
_SYNTHETIC = "<synthetic>"


class TurnTranslator:
    """Turns frames, from the question on, into events; `done` after the turn's end.

    The CLI adds costs up over a process: `cost_before` is its total so far, in USD. A process that resumed a
    session may count on from the session's total, `restored_cost`. `engine` names the level that runs the
    turn. `answer`: the tool by which the answer is given, as text to the client; then no other text counts.
    `names` leads from the API's names of arguments to the caller's. `stop`: texts that end the answer and
    that the API doesn't look for. `runs_tools`: the CLI runs tools of its own and asks the model again, until
    it has its answer. `held`: what it says at which calls the process may wait for their results; others are
    cut off. `goes_on`: it waited, and is asked no question. `model` and `advice` are for the words of a
    failure. `notices` are told at the end. `clock` is seconds since the epoch, for the time to a limit's
    reset.
    """

    done = False
    # Set by the turn's result frame: only then can the process be used again.
    clean = False
    mark: str | None = None
    # Did the API say anything but that it doesn't know the login?
    answered = False
    # The answer has ended, and the CLI is about to go on by itself: it must be interrupted.
    cut = False
    # The same, and an interrupt would come too late: the process must be killed.
    deserted = False
    # The model has said all; the CLI's result is still to come, or the process waits.
    said_all = False
    # The answer has ended in calls, and the process waits at them.
    waiting = False
    # The same, and the turn is over.
    suspended = False

    def __init__(
        self,
        *,
        engine: str = "",
        cost_before: float = 0.0,
        restored_cost: float | None = None,
        answer: AnswerTool | None = None,
        stop: Sequence[str] = (),
        names: ArgumentNames | None = None,
        runs_tools: bool = False,
        held: HeldAnswer | None = None,
        goes_on: bool = False,
        model: str | None = None,
        advice: LoginAdvice | None = None,
        notices: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.total_cost = cost_before
        self._engine = engine
        self._cost_before = cost_before
        self._restored_cost = restored_cost
        self._clock = clock
        self._began = time.monotonic()
        self._model = ""
        self.held = held or HeldAnswer()
        self._goes_on = goes_on
        self._visible = False
        self._texts: list[str] = []
        self._blocks = 0
        self._api_requests = 0
        self._answer = answer
        self._names = names or ArgumentNames()
        self._notices = tuple(notices)
        self._block: AnswerBlock | RenamedCall | StopText | ThinkingText | None = None
        # What the client will be told when the current block ends: nothing of a block that it doesn't see.
        self._end: BlockEnded | None = None
        self._stop_text = StopText(stop) if stop else None
        self._calls = 0
        self._open_calls: list[OpenCall] = []
        self._cli_tools = CliToolTracker() if runs_tools else None
        self._stop: str | None = None
        self._stop_sequence: str | None = None
        self._usage = Usage()
        self._limit: Mapping[str, Any] = {}
        self._asked_model = model
        self.advice = advice or LoginAdvice()
        self._error_kind = ""

    def translate(self, frame: Frame) -> Sequence[TurnEvent]:
        """The events of one frame. Raises TurnError for a turn that failed."""
        kind = frame["type"]
        if self.done or (self._cli_tools is not None and frame.get("parent_tool_use_id")):
            # A subagent's frame: its answer comes as a tool result.
            return ()
        if kind == "stream_event":
            return self._stream(frame["event"])
        if kind == "assistant" and not self.cut:
            message = frame["message"]
            self._error_kind = str(frame.get("error") or "")
            if message.get("model") != _SYNTHETIC and frame.get("uuid"):
                self.mark = frame["uuid"]
                if self._cli_tools is not None:
                    return self._cli_tools.runs_started(message["content"])
                self._note_calls(message.get("content") or ())
                self.held.note(message.get("content") or ())
        elif kind == "user":
            self._heard_results(frame)
        elif kind == "rate_limit_event":
            self._limit = frame.get("rate_limit_info") or frame
        elif kind == "result":
            return self._result(frame)
        return ()

    def _note_calls(self, blocks: Sequence[Frame]) -> None:
        answer = self._answer.tool.name if self._answer is not None else None
        for block in blocks:
            if block["type"] == "tool_use":
                default = _ANSWER_TAKEN if block["name"] == answer else NO_RESULT
                self._open_calls.append(OpenCall(block["id"], block["name"], default))

    def _heard_results(self, frame: Frame) -> None:
        """The CLI has answered a call by itself, such as one of a tool that it doesn't know."""
        if self.held.is_answered_by(frame) and self.waiting:
            self.waiting, self.cut = False, True

    def _stream(self, event: Frame) -> Sequence[TurnEvent]:
        kind = event["type"]
        if kind == "message_start":
            # Also where the CLI was quicker than our interrupt: the answer is paid for.
            self._api_requests += 1
            self.answered = True
        if self.cut:
            return ()
        if kind == "content_block_delta":
            return self._delta(event["delta"])
        if kind == "content_block_start":
            return self._block_started(event["content_block"])
        if kind == "content_block_stop":
            return self._block_ended()
        if kind == "message_start":
            ran_tools = self._cli_tools is not None and self._stop == "tool_use"
            if self._blocks and not ran_tools:
                # Newer CLIs do so where the connection breaks after a whole block. The model goes on, or
                # begins anew, and both answers would be one.
                raise CliFailed("The answer broke off, and the claude CLI asked the model again by itself.")
            self._stop = None
            self._visible = False
            first = not self._model
            self._model = event["message"]["model"]
            self._usage = _usage(event["message"].get("usage"), Usage())
            if self._cli_tools is not None:
                self._cli_tools.message_started()
            return (TurnStarted(self._model, usage=self._usage),) if first else ()
        if kind == "message_delta":
            return self._message_ending(event)
        # With tools of the CLI's own the model may be asked again.
        at_end = (self._stop in _NO_MORE_TO_SAY and self._cli_tools is None) or self.waiting
        self.said_all = kind == "message_stop" and at_end
        return ()

    def _message_ending(self, event: Frame) -> Sequence[TurnEvent]:
        self._stop = event["delta"].get("stop_reason")
        self._stop_sequence = event["delta"].get("stop_sequence")
        self._usage = _usage(event.get("usage"), self._usage)
        self.waiting = self._stop == "tool_use" and self.held.may_wait
        goes_on = self.waiting or (self._cli_tools is not None and self._stop == "tool_use")
        self.cut = self._stop in _CLI_CONTINUES_AFTER and not goes_on
        if self._stop in _NO_MORE_TO_SAY and not self._visible:
            self.deserted = True
            return (self.finish_early(),)
        if self._stop == "tool_use" and not self._calls and self._cli_tools is None:
            # A call of the answer tool, or of a tool that was not offered.
            self._stop = "end_turn"
        return ()

    def _block_started(self, block: Frame) -> Sequence[TurnEvent]:
        self._blocks += 1
        self._block = self._end = None
        if block["type"] == "text" and self._answer is None:
            self._block, self._end = self._stop_text, BlockEnded()
        elif block["type"] == "thinking":
            self._block = ThinkingText(block.get("signature") or "")
        elif block["type"] == "redacted_thinking":
            self._end = BlockEnded(RedactedThinking(block["data"]))
        if block["type"] != "tool_use":
            return ()
        self._visible = True
        if self._answer is not None and block["name"] == self._answer.tool.name:
            self._block, self._end = AnswerBlock(self._answer.wrapped), BlockEnded()
            return ()
        if self._cli_tools is not None:
            return ()
        self._end = BlockEnded()
        self._calls += 1
        if renamed := self._names.back(block["name"]):
            self._block = RenamedCall(renamed)
        return (ToolCallStarted(block["id"], block["name"]),)

    def _delta(self, delta: Frame) -> Sequence[TurnEvent]:
        kind = delta["type"]
        if kind == "text_delta" and delta["text"].strip(_BLANK):
            self._visible = True
        if kind == "text_delta" and self._answer is None:
            text = delta["text"]
            if isinstance(self._block, StopText):
                text = self._block.feed(text)
                if self._block.found:
                    self._stop, self.cut = "stop_sequence", True
                    self._stop_sequence = self._block.found
            self._texts.append(text)
            if text and self._cli_tools is not None:
                text = self._cli_tools.with_spacing(text)
            return (TextDelta(text),) if text else ()
        if kind == "citations_delta" and self._answer is None:
            return (Citation(json.dumps(delta["citation"])),)
        if kind in ("thinking_delta", "signature_delta"):
            return self._thought(delta)
        if kind == "input_json_delta" and self._cli_tools is None:
            text = delta["partial_json"]
            if isinstance(self._block, RenamedCall):
                self._block.feed(text)
                return ()
            if isinstance(self._block, AnswerBlock):
                text = self._block.feed(text)
                return (TextDelta(text),) if text else ()
            return (ToolCallDelta(text),) if text else ()
        return ()

    def _thought(self, delta: Frame) -> Sequence[TurnEvent]:
        block = self._block
        if not isinstance(block, ThinkingText):
            return ()
        if delta["type"] == "signature_delta":
            block.signature = delta["signature"]
            return ()
        text = block.feed(delta["thinking"])
        return (ThinkingDelta(text),) if text else ()

    def _block_ended(self) -> Sequence[TurnEvent]:
        block, self._block = self._block, None
        end, self._end = self._end, None
        if isinstance(block, ThinkingText):
            return (BlockEnded(block.whole),)
        rest = block.flush() if block is not None else ""
        if rest and isinstance(block, StopText):
            self._texts.append(rest)
        told = ToolCallDelta(rest) if isinstance(block, RenamedCall) else TextDelta(rest)
        return (*((told,) if rest else ()), *((end,) if end is not None else ()))

    @property
    def plain_answer(self) -> str | None:
        """The answer if it is a single text, which a client sends back just as the process holds it."""
        whole = self.done and self.clean and not self.cut and self._blocks == 1
        return "".join(self._texts) or None if whole else None

    def _result(self, result: Frame) -> Sequence[TurnEvent]:
        self.clean = True
        self.total_cost = float(result.get("total_cost_usd") or 0.0)
        if self.cut:
            return (self._finish(self._usage, self._cost(result, self._usage)),)
        if self._cli_tools is not None and result.get("subtype") == "error_max_turns":
            usage = _usage(result.get("usage"), self._usage)
            self._stop = "max_turns"
            return (replace(self._finish(usage, self._cost(result, usage)), notices=(OUT_OF_TURNS,)),)
        if result.get("is_error") or result.get("subtype") != "success":
            self.answered = self.answered or status_of(result) not in (None, 401)
            error = error_from_result(
                Refusal(result, self._clock(), self._error_kind, self._limit, self._asked_model, self.advice)
            )
            # It may hold an old login: the second try is for another process.
            self.clean = not isinstance(error, NotReady)
            raise error
        if not self._model:
            # A command of the CLI's own would end like this.
            raise CliFailed("The claude CLI answered by itself instead of asking the model.")
        # After calls that waited, the CLI adds up what all of the answers took.
        usage = self._usage if self._goes_on else _usage(result.get("usage"), self._usage)
        self._stop = self._stop or result.get("stop_reason")
        return (self._finish(usage, self._cost(result, usage)),)

    def suspend(self, total_cost: float | None) -> TurnDone:
        """The end of a turn whose process waits. `total_cost`: the CLI's total, None if it isn't known."""
        self.clean = self.suspended = True
        cost = None if total_cost is None else max(0.0, total_cost - self._cost_before)
        self.total_cost = self.total_cost if total_cost is None else total_cost
        return self._finish(self._usage, cost)

    def finish_early(self) -> TurnDone:
        """The end of a turn without the CLI's result. No session may continue from a cut one."""
        if self.cut or self.deserted or self.waiting:
            self.mark = None
        return self._finish(self._usage, None)

    def _cost(self, result: Frame, usage: Usage) -> float | None:
        before = self._cost_before
        counted = sum(_tokens(model) for model in (result.get("modelUsage") or {}).values())
        others = counted > usage.prompt_tokens + usage.output_tokens
        if not before and others and not self._goes_on:
            # It counts on from earlier turns of the session.
            if self._restored_cost is None:
                return None
            before = self._restored_cost
        return max(0.0, self.total_cost - before)

    def _finish(self, usage: Usage, cost: float | None) -> TurnDone:
        self.done = True
        reason = self._stop if self._stop in _STOP_REASONS else "other"
        return TurnDone(
            stop_reason=cast(StopReason, reason),
            usage=usage,
            model=self._model,
            cost_usd=cost,
            duration_ms=round((time.monotonic() - self._began) * 1000),
            mark=self.mark,
            total_cost_usd=self.total_cost if self.clean else None,
            calls=tuple(self._open_calls),
            engine=self._engine,
            api_requests=self._api_requests,
            notices=self._notices,
            stop_sequence=self._stop_sequence if reason == "stop_sequence" else None,
        )


def _usage(counts: Mapping[str, Any] | None, before: Usage) -> Usage:
    """Update `before` with the counts that the API reports."""
    counts = counts or {}
    details = counts.get("output_tokens_details") or {}

    def count(name: str, old: int) -> int:
        value = counts.get(name)
        return value if isinstance(value, int) else old

    return Usage(
        input_tokens=count("input_tokens", before.input_tokens),
        cache_read_tokens=count("cache_read_input_tokens", before.cache_read_tokens),
        cache_creation_tokens=count("cache_creation_input_tokens", before.cache_creation_tokens),
        output_tokens=count("output_tokens", before.output_tokens),
        thinking_tokens=details.get("thinking_tokens") or before.thinking_tokens,
    )


def _tokens(model_usage: Mapping[str, Any]) -> int:
    names = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return sum(model_usage.get(name) or 0 for name in names)
