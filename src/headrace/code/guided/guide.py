"""ProjectGuide: leads a turn of a model that cannot explore, but can rewrite what it is shown.

The life of a guided turn:

1. look (`looking`): list the files, search for the words of the task, read, run the tests
2. ask (`passes`) for one definition at a time, with the files before it, so that the prefix stays
   cached; where the server can, the answer is begun for the model, up to the definition's name
3. put the answer into its file (`graft`), and run the tests when a pass is through
4. choose (`choosing`): tests that fail now and pass then; else the failure is shown, then other
   samples are drawn from the same prefix, until one passes or the limits are reached
   (where no test fails now, the model writes checks from the task; those choose, and no more)
5. what is best is left in the files, and said as it is

The steps are a generator that is run again over the log each time, so that what comes next is a
function of the branch alone.
"""

import re
from collections.abc import Sequence

from headrace.agent.entries import Begun, Entry
from headrace.agent.guide import Consult, Finish, Step
from headrace.agent.prompt import begun_of
from headrace.code.guided import asks, choosing, looking, places, project, texts
from headrace.code.guided.asks import Asking, Lead, Reading
from headrace.code.guided.choosing import Tried
from headrace.code.guided.looking import Looked
from headrace.code.guided.passes import Pass
from headrace.code.guided.turn import Round, Turn, turn_of
from headrace.core.messages import Message
from headrace.core.requests import Sampling

PASSES_MAX = 16
CHECKED_PASSES_MAX = 5
TURN_S_MAX = 240.0
"""After this time no new pass is begun."""

_KINDS, _REPEATS, _ALL_AT_ONCE = 4, 2, 3
_NS_PER_S = 1_000_000_000
_QUESTION = re.compile(
    r"(?:what|why|how|where|who|which|when|explain|describe|tell|show|is|are|does|do|can|should)\b"
    r"|(?:hi|hello|hey|thanks|thank you)\b",
    re.IGNORECASE,
)


class ProjectGuide:
    """The guide of sessions in one workspace; it keeps nothing between two steps."""

    def step(self, branch: Sequence[Entry]) -> Step:
        """What comes next."""
        turn = turn_of(branch)
        return _run(_lead(turn, begun_of(branch)), turn.rounds)

    def read(self, branch: Sequence[Entry], answer: Message) -> Message:
        """The answer with the calls that it amounts to."""
        turn = turn_of(branch)
        lead = _lead(turn, begun_of(branch))
        _run(lead, turn.rounds)
        reading = lead.send(answer)
        return reading.message if isinstance(reading, Reading) else answer


def _run(lead: Lead[Finish], rounds: Sequence[Round]) -> Step:
    """The step behind those rounds."""
    try:
        step = next(lead)
        for one in rounds:
            if isinstance(step, Consult):
                lead.send(one.written or Message("assistant", ()))
            step = lead.send(one)
    except StopIteration as stop:
        return stop.value
    assert not isinstance(step, Reading)  # noqa: S101 - only what follows a `Consult` is read
    return step


def _lead(turn: Turn, begun: Begun) -> Lead[Finish]:
    looked = yield from looking.look(turn.task)
    asking = asks.asking(turn, begun, looked.files, looked.failing)
    if _is_question(turn.task) or not any(map(project.is_source, looked.files)):
        return (yield from _answered(asking))
    return (yield from _changed(turn, asking, looked))


def _is_question(task: str) -> bool:
    """Whether words are asked of the model and no change."""
    return task.rstrip().endswith("?") or _QUESTION.match(task.strip()) is not None


def _answered(asking: Asking) -> Lead[Finish]:
    ask = f"{asking.task}\n\n{texts.ASKED}"
    answer = yield Consult(asking.request(texts.ANSWER_SYSTEM, ask, Sampling()))
    said = answer.text() if isinstance(answer, Message) else ""
    yield Reading(Message("assistant", ()))
    return Finish(said or "The model answered nothing.", "done" if said else "failed")


def _changed(turn: Turn, asking: Asking, looked: Looked) -> Lead[Finish]:
    output = "" if looked.tests is None else looked.tests.output
    where = places.places(turn.task, looked.files, output)
    yield from looking.write_checks(asking, looked)
    tried: list[Tried] = []
    now = dict(looked.files)
    for number in range(CHECKED_PASSES_MAX if looked.checks else PASSES_MAX):
        sampling = asks.GREEDY if number == 0 else asks.SAMPLED
        kind = number % _KINDS
        # One pass of four asks for all at once: places may have been read wrongly.
        chosen = () if kind == _ALL_AT_ONCE else where
        one = Pass(
            asking, looked, where=chosen, repeats=kind == _REPEATS, sampling=sampling, now=now
        )
        tried.append((yield from one.run()))
        asking = one.asking
        late = one.ended_ns - turn.begun_ns > TURN_S_MAX * _NS_PER_S
        if late or choosing.settled(looked, tried[-1]):
            break
    return (yield from choosing.kept(looked, tried, now))
