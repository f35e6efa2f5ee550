"""The clients: each asks, waits for the answer or leaves, judges it, and asks again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from lab.chaos import verdict
from lab.chaos.traffic import Client, Question
from lab.chaos.upstream import Book
from lab.chaos.verdict import Verdict

# Longer than the server may take by its own limits (see `run.server_settings`): then it hangs.
HANGS_AFTER = 120.0
HUNG = "requests without an end"
REFUSED = "connections refused or broken"
FORGOT = "memories lost without a word"
_SLOW_PIECE = 0.05
_SHORTEST_REST = 0.2
# A limit may be told for hours.
_LONGEST_REST = 3.0


@dataclass
class Tally:
    """What the clients got. Times in seconds."""

    requests: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    after_200: int = 0
    retries: int = 0
    made_again: int = 0
    latencies: list[float] = field(default_factory=list)


class LoadClients:
    """Sends questions to the server at `url`. `book` is what the stand-in looks them up in."""

    def __init__(self, url: str, book: Book) -> None:
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=HANGS_AFTER,
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )
        self._book = book
        self.tally = Tally()

    async def close(self) -> None:
        await self._http.aclose()

    async def keep_asking(self, client: Client, over: asyncio.Event) -> None:
        """Ask until it is over; a question that is under way is seen to its end. After each that failed it
        rests, as long as it was told to."""
        while not over.is_set():
            found = await self.ask(client.next())
            if found.outcome != verdict.RIGHT:
                await asyncio.sleep(min(max(found.retry_after, _SHORTEST_REST), _LONGEST_REST))

    async def ask(self, question: Question) -> Verdict:
        """One question, to its end. What must not be is noted in the book."""
        self._book.questions[question.name] = question
        self.tally.requests[question.kind] += 1
        begun = time.perf_counter()
        try:
            found = await asyncio.wait_for(self._verdict(question), question.leaves_after or HANGS_AFTER)
        except asyncio.TimeoutError:
            left = question.leaves_after is not None
            found = Verdict(verdict.LEFT) if left else Verdict(HUNG, f"no end after {HANGS_AFTER:g} s")
        except httpx.HTTPError as error:
            found = Verdict(REFUSED, repr(error))
        if found.outcome == verdict.RIGHT:
            self.tally.latencies.append(time.perf_counter() - begun)
        if question.talk is not None:
            found = self._note_turn(question, found)
        self._note(question, found)
        if found.outcome == verdict.RIGHT and question.cut is None:
            # What still arrives for it upstream is a request that nobody made.
            del self._book.questions[question.name]
        return found

    async def _verdict(self, question: Question) -> Verdict:
        path = "/v1/chat/completions"
        async with self._http.stream("POST", path, json=question.body) as answer:
            pieces = []
            # Not by lines: httpx takes more signs for line ends than there are.
            async for piece in answer.aiter_bytes(1024 if question.reads_slowly else None):
                pieces.append(piece)
                if question.reads_slowly:
                    await asyncio.sleep(_SLOW_PIECE)
            text = b"".join(pieces).decode()
            if question.streamed and answer.status_code == 200:
                return verdict.of_stream(question, text.split("\n"))
            return verdict.of_whole(question, answer.status_code, answer.headers, text)

    def _note(self, question: Question, found: Verdict) -> None:
        self.tally.outcomes[found.outcome] += 1
        self.tally.after_200 += found.after_200
        self.tally.retries += int(found.facts.get("retries") or 0)
        if found.problem is not None:
            self._book.found(found.outcome, f"{question.kind} {question.name}: {found.problem}")

    def _note_turn(self, question: Question, found: Verdict) -> Verdict:
        """What the client of a session knows of it now."""
        talk = question.talk
        assert talk is not None
        went_on = self._book.went_on.pop(question.name, None)
        turn = talk.turns[-1]
        if found.outcome == verdict.LEFT:
            turn.answered = None
        elif found.outcome == verdict.RIGHT:
            notices = " ".join(found.facts.get("notices") or ())
            remembers = bool(talk.history())
            turn.answered = None if "record" in notices else True
            if found.facts.get("session") == "recreated":
                self.tally.made_again += 1
                talk.made_again(question.before)
            elif went_on is False and remembers:
                return Verdict(FORGOT, f"says {found.facts.get('session')!r}", facts=found.facts)
        return found
