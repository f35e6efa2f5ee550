"""Bytes to lines."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_server.engine.protocol.framing import LineSplitter, LineTooLong

# Few kinds of bytes, so that newlines and blanks meet often.
STREAMS = st.lists(st.sampled_from([b"\n", b"\n\n", b" ", b"\r\n", b"a", b"{}", b"\xe2\x82\xac"])).map(
    b"".join
)


def lines_of(chunks: list[bytes]) -> list[bytes]:
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(ends)]


@given(STREAMS, st.lists(st.integers(0, 1000)))
def test_any_chunking_gives_the_same_lines(data: bytes, places: list[int]) -> None:
    complete = data.split(b"\n")[:-1]
    assert lines_of(cut(data, places)) == [line for line in complete if line.strip()]


@given(STREAMS)
def test_byte_by_byte(data: bytes) -> None:
    assert lines_of([data[i : i + 1] for i in range(len(data))]) == lines_of([data])


def test_blank_lines_are_left_out_and_others_are_kept_whole() -> None:
    assert lines_of([b'\n\n {"a":1} \r\n\t\n \n{"b":2}\n']) == [b' {"a":1} \r', b'{"b":2}']


def test_a_line_without_its_end_is_not_given() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.feed(b"") == []
    assert splitter.feed(b"o") == []
    assert splitter.feed(b"\n") == [b"two"]


def test_a_line_at_the_cap_is_fine() -> None:
    splitter = LineSplitter(cap=5)
    assert splitter.feed(b"12345\n1234") == [b"12345"]
    assert splitter.feed(b"5\n") == [b"12345"]


@pytest.mark.parametrize(
    "chunks", [[b"123456"], [b"123456\n"], [b"123", b"456"], [b"12345", b"6\n"], [b"1\n123", b"456"]]
)
def test_a_line_beyond_the_cap(chunks: list[bytes]) -> None:
    splitter = LineSplitter(cap=5)
    with pytest.raises(LineTooLong, match="a line of more than 5 bytes"):
        for chunk in chunks:
            splitter.feed(chunk)


def test_a_long_line_in_many_pieces() -> None:
    splitter = LineSplitter()
    for _ in range(10_000):
        assert splitter.feed(b"x" * 100) == []
    assert splitter.feed(b"\n") == [b"x" * 1_000_000]
