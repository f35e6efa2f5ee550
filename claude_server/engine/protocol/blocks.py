"""Blocks of an answer that don't go to the client as they come. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claude_server.core.model import Thinking, Tool

_WRAPPING = re.compile(r'^\s*\{\s*"value"\s*:\s*')


@dataclass(frozen=True, slots=True)
class AnswerTool:
    """The tool by which the model gives an answer that has a schema. `wrapped`: the answer is its argument
    "value", since the schema isn't that of a plain object."""

    tool: Tool
    wrapped: bool


class AnswerBlock:
    """The arguments of the tool by which the answer is given: JSON text in, the answer's JSON text out.
    `wrapped`: the answer is the argument "value", which shows only at the end."""

    def __init__(self, wrapped: bool) -> None:
        self._wrapped = wrapped
        self._told = False
        self._pieces: list[str] = []

    def feed(self, piece: str) -> str:
        """What can be told of the answer now."""
        if not self._wrapped:
            self._told = self._told or bool(piece)
            return piece
        self._pieces.append(piece)
        return ""

    def flush(self) -> str:
        """What is left to be told at the end. Text that isn't as expected is told as it is: it fails the
        schema."""
        if not self._wrapped:
            # A call without arguments may come without a piece of them.
            return "" if self._told else "{}"
        text = "".join(self._pieces)
        try:
            told = json.dumps(json.loads(text)["value"], ensure_ascii=False)
        except (ValueError, KeyError, TypeError):
            # Cut short, perhaps: then it is what there is of the answer.
            told = _WRAPPING.sub("", text)
        # Half a pair of surrogates can't go out.
        return told.encode("utf-8", "replace").decode()


class RenamedCall:
    """The arguments of a call whose names differ at the API: they are told at the end, by the names in
    `names`."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._pieces: list[str] = []

    def feed(self, piece: str) -> str:
        """What can be told now: nothing."""
        self._pieces.append(piece)
        return ""

    def flush(self) -> str:
        """The arguments. Text that is no object, cut short perhaps, is told as it is."""
        text = "".join(self._pieces)
        try:
            found = json.loads(text)
            if not isinstance(found, dict):
                return text
            renamed = {self._names.get(name, name): value for name, value in found.items()}
            told = json.dumps(renamed, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError):
            return text
        # Half a pair of surrogates can't go out.
        return told.encode("utf-8", "replace").decode()


class ThinkingText:
    """A block of thinking: its text is told as it comes, and kept for the whole of it. `signature` comes
    last."""

    def __init__(self, signature: str) -> None:
        self._pieces: list[str] = []
        self.signature = signature

    def feed(self, piece: str) -> str:
        """What can be told now: all of it."""
        self._pieces.append(piece)
        return piece

    def flush(self) -> str:
        """What was kept back: nothing."""
        return ""

    @property
    def whole(self) -> Thinking:
        return Thinking("".join(self._pieces), self.signature)


class StopText:
    """Text up to the first of `stops`, which may be spread over pieces. `found`: the one that
    was there, "" before."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [_Match(stop) for stop in stops if stop]
        self._kept = ""
        self.found = ""

    def feed(self, piece: str) -> str:
        """The text that is certain not to be part of a stop."""
        text = self._kept + piece
        for place, character in enumerate(piece, len(self._kept) + 1):
            # The one that is whole first, however the text was cut into pieces; of two the longer one.
            whole = [match.length for match in self._stops if match.feed(character)]
            if whole:
                begin = place - max(whole)
                self.found, self._kept = text[begin:place], ""
                return text[:begin]
        certain = len(text) - max((match.begun for match in self._stops), default=0)
        self._kept = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """What was kept back, once no more comes."""
        kept, self._kept = self._kept, ""
        return kept


class _Match:
    """How much of a stop text the end of a text is, character by character, by Knuth, Morris and Pratt.

    Their table is made as far as it is needed, so that the time goes by the text, not by the stop.
    """

    def __init__(self, stop: str) -> None:
        self._stop = stop
        self.length = len(stop)
        self.begun = 0
        # For each beginning of the stop, from that of one character on: the longest beginning that it ends
        # with, itself left out.
        self._borders = [0]

    def feed(self, character: str) -> bool:
        """Is the stop whole with this character?"""
        self.begun = self._longer(self.begun, character)
        while len(self._borders) < self.begun:
            self._borders.append(self._longer(self._borders[-1], self._stop[len(self._borders)]))
        return self.begun == self.length

    def _longer(self, begun: int, character: str) -> int:
        while begun and self._stop[begun] != character:
            begun = self._borders[begun - 1]
        return begun + (self._stop[begun] == character)
