"""Names for requests that are found again in texts, and texts that only one request can have."""

from __future__ import annotations

import json
import random
import re

# [#conversation.turn]: plain to read, and the same in JSON as in a text.
_MARK = re.compile(r"\[#([\w-]+)\.(\d+)\]")
# What careless hands break: other alphabets, separators that some take for line ends, JSON's own signs.
_WORDS = (
    *("warm", "river", "stone", "über", "señal", "дом", "日本語", "\U0001f469\u200d\U0001f467", "e\u0301"),
    *('"quoted"', "back\\slash", "{brace}", "line\nbreak", "tab\there", "\u2028", "\u2029", "\x85"),
    *("data: x", "<tag>", "&amp;", "[DONE]", '{"type":"result"}', "%s", "\u202eright", "\ufeff", "$(id)"),
)


def mark(conversation: str, turn: int) -> str:
    return f"[#{conversation}.{turn}]"


def marks_in(text: str) -> list[str]:
    """All marks, in order."""
    return [found[0] for found in _MARK.finditer(text)]


def conversations_in(raw: str) -> set[str]:
    """The conversations that marks in this text, or JSON, belong to."""
    return {found[1] for found in _MARK.finditer(raw)}


def text_of(name: str, kind: str, size: int) -> str:
    """At least `size` characters that only the mark `name` has, in this `kind` of text. Every piece of it
    is numbered: one that is missing or comes twice is seen."""
    rng = random.Random(f"{name} {kind}")
    pieces = [f"{name} {kind}"]
    length = len(pieces[0])
    while length < size:
        pieces.append(f"{len(pieces)}:{rng.choice(_WORDS)}")
        length += len(pieces[-1]) + 1
    return " ".join([*pieces, name])


def first_difference(got: str, expected: str) -> str:
    """Where two texts part, for a report."""
    place = next((i for i, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), None)
    place = min(len(got), len(expected)) if place is None else place
    window = slice(max(0, place - 20), place + 40)
    return f"at {place} of {len(expected)}: {json.dumps(got[window])} for {json.dumps(expected[window])}"
