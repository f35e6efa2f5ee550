"""Blocks of an answer that don't go to the client as they come."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.engine.protocol.blocks import AnswerBlock, StopText
from tests.growth import grows_no_faster_than_its_input

LETTERS = "a\n"


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces."""
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in itertools.pairwise(ends)]


def until_a_stop(text: str, stops: list[str]) -> tuple[str, str]:
    """Letter by letter: the text before the first stop that is whole, and the stop itself."""
    for end in range(len(text) + 1):
        whole = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if whole:
            return text[: end - max(whole)], text[end - max(whole) : end]
    return text, ""


@given(
    st.text(LETTERS, max_size=12),
    st.lists(st.text(LETTERS, min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 12)),
)
def test_any_pieces_give_the_text_before_the_first_stop(
    text: str, stops: list[str], places: list[int]
) -> None:
    stopping = StopText(stops)
    given, told = "", ""
    for piece in cut(text, places):
        given += piece
        told += stopping.feed(piece)
        if stopping.found:
            break
        assert len(given) - len(told) < max(map(len, stops)), "kept back for nothing"
    told += stopping.flush()
    assert (told, stopping.found) == until_a_stop(text, stops)
    assert stopping.flush() == ""


@pytest.mark.parametrize(
    ("stops", "pieces", "told"),
    [
        (["\n\n"], ["a\n", "b\n", "\nc"], ["a", "\nb", ""]),
        (["\n\n"], ["a\n\nb"], ["a"]),
        ([" \n ", "\n"], ["a \n b"], ["a "]),
        (["\n", " \n"], ["a \nb"], ["a"]),
    ],
)
def test_what_is_kept_back(stops: list[str], pieces: list[str], told: list[str]) -> None:
    stopping = StopText(stops)
    assert [stopping.feed(piece) for piece in pieces] == told
    assert stopping.found and stopping.flush() == ""


@pytest.mark.parametrize("unit", [" ", "\n ", "word   "])
def test_the_time_goes_by_the_text_not_by_the_stop(unit: str) -> None:
    """A stop that is never whole, and an answer in small pieces."""

    def fed(size: int) -> None:
        stopping = StopText([unit * size])
        for _ in range(size - 1):
            stopping.feed(unit)
        assert stopping.flush() == unit * (size - 1) and not stopping.found

    grows_no_faster_than_its_input(fed, lambda size: size, small=2_000)
    grows_no_faster_than_its_input(lambda size: StopText(["\n " * size]).feed("x\n x\n\n"), lambda size: size)


ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
)


@given(ANSWERS, st.lists(st.integers(0, 200)), st.booleans())
def test_an_answer_in_any_pieces(value: object, places: list[int], wrapped: bool) -> None:
    block = AnswerBlock(wrapped)
    text = json.dumps({"value": value} if wrapped else value)
    told = "".join(map(block.feed, cut(text, places)))
    assert told == ("" if wrapped else text)
    assert json.loads(told + block.flush()) == value


def test_letters_of_an_answer_stay_letters() -> None:
    block = AnswerBlock(True)
    block.feed('{"value": "\\u00e9"}')
    assert block.flush() == '"é"'


@pytest.mark.parametrize("pieces", [[], [""]])
def test_an_answer_without_arguments(pieces: list[str]) -> None:
    plain, wrapped = AnswerBlock(False), AnswerBlock(True)
    assert "".join(map(plain.feed, pieces)) + plain.flush() == "{}"
    assert "".join(map(wrapped.feed, pieces)) + wrapped.flush() == ""


@pytest.mark.parametrize("text", ["", "{", '{"value"', "[1]", '"value"', "5", '{"other": 1}', "null"])
def test_what_is_not_as_expected_is_told_as_it_is(text: str) -> None:
    block = AnswerBlock(True)
    assert block.feed(text) == ""
    assert block.flush() == text
