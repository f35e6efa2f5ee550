"""How many tokens a request's prompt has: counted by the engine, else estimated by what turns have shown."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass

from claude_server.core.backend import Backend
from claude_server.core.errors import InvalidRequest, ModelNotFound, TurnError
from claude_server.core.model import ApiBlock, Block, Document, Image, ToolResult, ToolUse, TurnRequest
from claude_server.core.ports import TurnEnd

# Seconds. A client that asks wants to know at once.
_WITHIN = 10.0
# Counts that are kept: clients count a conversation and then send it, or count it again.
_KEPT = 512
# Tokens a byte of text, until turns have shown it: more than most texts have.
_TOKENS_PER_BYTE = 0.4
# Bytes. In a shorter prompt, what the CLI adds weighs too much.
_SHORTEST_SHOWING = 4000
# By how many turns a model is known, and how many models are.
_SHOWINGS = 16
_MODELS = 64
# The most that the API counts for an image, and for a page of a document with its text and its picture.
_IMAGE_TOKENS = 1600
_PAGE_TOKENS = 4600
# Bytes of a page in base64, at least.
_PAGE_BYTES = 40_000


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of a prompt. `exact` False: an estimate, rather too high than too low."""

    tokens: int
    exact: bool


class TokenCounter:
    """Counts prompts. As an observer of turns it learns how many tokens a byte of text has."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._shown: OrderedDict[str | None, deque[float]] = OrderedDict()

    async def count(self, turn: TurnRequest) -> TokenCount:
        """Count a turn's prompt. Spends no tokens. Raises InvalidRequest and ModelNotFound."""
        key = await asyncio.to_thread(_key, turn)
        known = self._counts.get(key)
        if known is None:
            try:
                known = await asyncio.wait_for(self._backend.count_tokens(turn), _WITHIN)
            except (InvalidRequest, ModelNotFound):
                raise
            except (TurnError, asyncio.TimeoutError):
                return TokenCount(self.estimate(turn), exact=False)
            self._counts[key] = known
        self._counts.move_to_end(key)
        while len(self._counts) > _KEPT:
            self._counts.popitem(last=False)
        return TokenCount(known, exact=True)

    def estimate(self, turn: TurnRequest) -> int:
        """The tokens of a prompt, by what earlier turns with its model have shown."""
        texts, others = _size(turn)
        shown = self._shown.get(turn.model)
        rate = max(shown) if shown else _TOKENS_PER_BYTE
        return math.ceil(texts * rate) + others + 1

    def started(self, turn: TurnRequest) -> None:
        """Nothing is known yet."""

    def retried(self, turn: TurnRequest, error: TurnError, delay: float) -> None:
        """The end tells."""

    def ended(self, turn: TurnRequest, end: TurnEnd) -> None:
        """Learn from an answer to a prompt of text that was whole in the request."""
        if end.done is None or turn.session_id is not None or turn.cli_tools is not None:
            return
        texts, others = _size(turn)
        if others or texts < _SHORTEST_SHOWING or not end.done.usage.prompt_tokens:
            return
        shown = self._shown.setdefault(turn.model, deque(maxlen=_SHOWINGS))
        shown.append(end.done.usage.prompt_tokens / texts)
        self._shown.move_to_end(turn.model)
        while len(self._shown) > _MODELS:
            self._shown.popitem(last=False)


def _key(turn: TurnRequest) -> bytes:
    """A digest of all that counts, and of who asks: nobody learns what others have counted."""
    blocks = [[message.role, *map(_plain, message.blocks)] for message in (*turn.history, turn.question)]
    tools = [asdict(tool) for tool in turn.tools]
    schema = turn.answer.schema if turn.answer is not None else None
    told = [turn.owner, turn.model, turn.system, blocks, tools, schema, asdict(turn.tool_choice)]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).digest()


def _plain(block: Block) -> object:
    return block if isinstance(block, str) else [type(block).__name__, asdict(block)]


def _size(turn: TurnRequest) -> tuple[int, int]:
    """(bytes of text, tokens of what is no text) in a prompt."""
    blocks = [block for message in (*turn.history, turn.question) for block in message.blocks]
    texts = len(turn.system.encode())
    texts += sum(len(f"{tool.name}{tool.description}{tool.schema}".encode()) for tool in turn.tools)
    tokens = 0
    while blocks:
        block = blocks.pop()
        if isinstance(block, str):
            texts += len(block.encode())
        elif isinstance(block, Image):
            tokens += _IMAGE_TOKENS
        elif isinstance(block, Document):
            tokens += _PAGE_TOKENS * (1 + len(block.data) // _PAGE_BYTES)
        elif isinstance(block, ApiBlock):
            texts += len(block.json.encode())
        elif isinstance(block, ToolUse):
            texts += len(f"{block.name}{json.dumps(dict(block.input))}".encode())
        elif isinstance(block, ToolResult):
            blocks += block.blocks
    return texts, tokens
