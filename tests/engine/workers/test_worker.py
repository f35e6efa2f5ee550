"""A warm process and what is known of it."""

from __future__ import annotations

import os

import psutil
import pytest

from claude_server.core.model import AttemptRequest, Message, SessionPlan, TurnRequest
from claude_server.engine.processes.argv import Launch
from claude_server.engine.protocol.advice import LoginAdvice
from claude_server.engine.protocol.control import Dialogue, conversation
from claude_server.engine.protocol.events import TurnTranslator
from claude_server.engine.workers import worker as worker_module
from claude_server.engine.workers.attempt_spec import AttemptSpec, Script, attempt_spec
from claude_server.engine.workers.counters import Retired
from claude_server.engine.workers.state import Abilities, WorkerConfig, WorkerState
from claude_server.engine.workers.worker import Backoff, Limits, SharePolicy, Worker
from tests.engine.lines import ending, stream
from tests.engine.scripted import ScriptedProcess

LIMITS = Limits(turns=3, age=100.0, idle=10.0, memory=1000)


class Place:
    """A worker, its home and its clock."""

    abilities = Abilities(tools_in_body=True, stable_prefix=True)

    def __init__(self, launch: Launch | None = None) -> None:
        self.now = 50.0
        self.gone: list[Worker] = []
        self.returned: list[bool] = []
        self.process = ScriptedProcess("silence")
        self.worker = Worker(self.process, launch or Launch(), self, lambda: self.now)

    def script(self, spec: AttemptSpec, worker: Worker, advice: LoginAdvice) -> Script:
        translator = TurnTranslator(cost_before=worker.cost_usd)
        return Script(Dialogue(conversation((), spec.request.turn.question), translator), translator, spec)

    def release(self, worker: Worker, *, clean: bool) -> None:
        self.returned.append(clean)

    def worker_ended(self, worker: Worker) -> None:
        self.gone.append(worker)


def test_a_fresh_worker() -> None:
    worker = Place(Launch("opus")).worker
    assert (worker.state, worker.owner, worker.mark) == (None, None, None)
    assert (worker.turns, worker.cost_usd, worker.born, worker.idle_since) == (0, 0.0, 50.0, 50.0)
    assert repr(worker) == f"<Worker {worker.process.pid} turns=0 None>"


def test_its_first_system_prompt() -> None:
    worker = Place(Launch("opus", custom_model="x")).worker
    assert worker.blank
    worker.initialized(WorkerConfig("haiku", "S", "high"))
    assert worker.state == WorkerState(
        WorkerConfig("opus", "S"), "x", (), tools_in_body=True, continues_tools=True
    )
    assert not worker.blank
    worker.initialized(WorkerConfig())
    assert worker.blank


def told(script: Script, *frames: dict[str, object]) -> None:
    """What the process says in this turn."""
    script.dialogue.start()
    for frame in frames:
        script.dialogue.receive(frame)


SAID: list[dict[str, object]] = [
    stream("message_start", message={"model": "m", "usage": {}}),
    stream("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    stream("content_block_delta", index=0, delta={"type": "text_delta", "text": "A"}),
    {"type": "assistant", "uuid": "u1", "message": {"content": [{"type": "text", "text": "A"}]}},
    stream("content_block_stop", index=0),
    *ending("end_turn"),
    {"type": "result", "subtype": "success", "total_cost_usd": 0.3},
]


@pytest.mark.parametrize("in_session", [False, True])
def test_a_turn_leaves_its_conversation(in_session: bool) -> None:
    session = SessionPlan("s", "create") if in_session else None
    place = Place(Launch("opus", session))
    history = (Message("user", ("a",)), Message("assistant", ("b",)))
    question = Message("user", ("Q",))
    spec = attempt_spec(AttemptRequest(TurnRequest("t", question, model="opus"), "S", history, session))
    worker = place.worker
    script = worker.begin(spec, LoginAdvice())
    assert worker.turns == 1 and worker.state is not None
    told(script, *SAID)
    worker.finish(script)
    assert worker.state.messages == (*history, question, Message("assistant", ("A",)))
    assert worker.state.current == spec.config
    assert (worker.cost_usd, worker.mark, place.returned) == (0.3, "u1", [True])


def test_a_turn_that_was_left_is_not_clean() -> None:
    place = Place()
    spec = attempt_spec(AttemptRequest(TurnRequest("t", Message("user", ("Q",))), "", ()))
    script = place.worker.begin(spec, LoginAdvice())
    told(script, *SAID[:3])
    place.worker.finish(script)
    assert place.worker.state is not None and place.worker.state.messages is None
    assert (place.worker.mark, place.returned) == (None, [False])


def test_a_turn_that_was_not_begun_leaves_no_trace() -> None:
    place = Place()
    place.worker.finish(None)
    assert (place.worker.turns, place.worker.state, place.returned) == (0, None, [True])


def test_frames_between_turns_are_nobodys() -> None:
    place = Place()
    place.worker.mark_idle()
    place.process.say({"type": "result"}, {"type": "control_request"}, {"type": "control_response"})
    assert place.process.written == []


# Between turns


def test_at_rest_the_worker_hears_of_the_end() -> None:
    place = Place()
    place.now = 60.0
    place.worker.mark_idle()
    assert place.worker.idle_since == 60.0
    place.process.exit(1)
    assert place.gone == [place.worker]


# After a start that failed


def test_a_pause_doubles_and_ends() -> None:
    backoff = Backoff()
    assert (backoff.failures, backoff.remaining(0.0)) == (0, 0.0)
    lengths = []
    for number in range(1, 9):
        backoff.failed(100.0 * number)
        assert backoff.failures == number
        lengths.append(backoff.remaining(100.0 * number))
    assert lengths == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert [backoff.remaining(now) for now in (810.0, 829.5, 830.0, 999.0)] == [20.0, 0.5, 0.0, 0.0]
    backoff.reset()
    assert (backoff.failures, backoff.remaining(800.0)) == (0, 0.0)
    backoff.failed(801.0)
    assert backoff.remaining(801.0) == 0.5


def test_a_cli_may_be_broken_for_days() -> None:
    backoff = Backoff()
    for number in range(10_000):
        backoff.failed(30.0 * number)
    assert backoff.remaining(30.0 * 9_999) == 30.0


# When it has to go


def retirement_reason(place: Place, share: SharePolicy = "any", limits: Limits = LIMITS) -> Retired | None:
    return place.worker.retirement_reason(limits, share)


@pytest.mark.parametrize("share", ["key", "any", "never"])
def test_a_worker_that_was_never_used_stays(share: SharePolicy) -> None:
    assert retirement_reason(Place(), share) is None


def test_the_end_of_the_process() -> None:
    place = Place()
    place.process.exit()
    assert retirement_reason(place) == Retired.ENDED


@pytest.mark.parametrize(("share", "reason"), [("key", None), ("any", None), ("never", Retired.NOT_SHARED)])
def test_one_that_was_used(share: SharePolicy, reason: Retired | None) -> None:
    place = Place()
    place.worker.turns = 1
    assert retirement_reason(place, share) == reason


@pytest.mark.parametrize(("turns", "reason"), [(2, None), (3, Retired.TURNS), (4, Retired.TURNS)])
def test_turns(turns: int, reason: Retired | None) -> None:
    place = Place()
    place.worker.turns = turns
    assert retirement_reason(place) == reason


@pytest.mark.parametrize(("age", "reason"), [(99.9, None), (100, Retired.AGE), (1000, Retired.AGE)])
def test_age(age: float, reason: Retired | None) -> None:
    place = Place()
    place.now += age
    assert retirement_reason(place) == reason


@pytest.mark.parametrize(
    ("turns", "memory", "reason"),
    [
        (10, 1001, Retired.MEMORY),
        (10, 1000, None),
        (9, 1001, None),
        (11, 1001, None),
        (20, 1001, Retired.MEMORY),
    ],
)
def test_memory(monkeypatch: pytest.MonkeyPatch, turns: int, memory: int, reason: Retired | None) -> None:
    place = Place()
    asked: list[int] = []

    def used(pid: int) -> int:
        asked.append(pid)
        return memory

    monkeypatch.setattr(worker_module, "_memory", used)
    place.worker.turns = turns
    assert retirement_reason(place, limits=Limits(turns=1000, age=100, memory=1000)) == reason
    # To ask costs something.
    assert asked == ([place.process.pid] if turns % 10 == 0 else [])


def test_the_memory_of_a_process() -> None:
    own = worker_module._memory(os.getpid())
    assert 0.5 < own / psutil.Process().memory_info().rss < 2
    # One that is gone has none.
    assert worker_module._memory(Place().process.pid) == 0


def test_the_limits_when_nothing_is_said() -> None:
    assert Limits() == Limits(turns=1000, age=3600.0, idle=300.0, memory=400 * 1024 * 1024)
