"""One pass of a guided turn: each place is asked for, written and tested, and mended once."""

from collections.abc import Mapping

import msgspec

from headrace.agent.guide import Consult
from headrace.code.edits import parses
from headrace.code.edits.results import Applied, Refused
from headrace.code.guided import answers, imports, looking, places, project, texts
from headrace.code.guided.asks import Asking, Lead, Reading, argument, call, fenced
from headrace.code.guided.choosing import Tried
from headrace.code.guided.graft import graft
from headrace.code.guided.looking import Looked, Tests
from headrace.code.guided.places import Place
from headrace.code.guided.turn import Round
from headrace.core.messages import Message, Part, Text
from headrace.core.requests import Sampling


class Pass:
    """One way through all places.

    Args:
        asking: What the questions have in common.
        looked: The project before anything was changed; the pass begins there.
        where: What to ask for; none: for all that has to change, at once.
        repeats: Whether each question shows again what it asks to be rewritten: what stands right
            before the answer is often copied.
        sampling: How answers are drawn.
        now: What stands in the files, as earlier passes left them; kept up to date.
    """

    def __init__(
        self,
        asking: Asking,
        looked: Looked,
        *,
        where: tuple[Place, ...],
        repeats: bool,
        sampling: Sampling,
        now: dict[str, str],
    ) -> None:
        self.asking, self._looked = asking, looked
        self._where, self._repeats, self._sampling = where, repeats, sampling
        self._files = dict(looked.files)
        self._problem = ""
        self._now = now
        self.ended_ns = 0

    def run(self) -> Lead[Tried]:
        """Ask for each place, write what comes, run the tests, and once more with the failure."""
        for place in self._where or (None,):
            yield from self._ask(place, self._question(place))
        tests = yield from self._test(self._command)
        if tests is not None and not tests.passed:
            place = self._suspect(tests)
            if place is not None:
                yield from self._ask(place, self._again(place, tests))
                tests = yield from self._test(self._command)
        checks = yield from self._test(self._looked.checks)
        return Tried(self._files, tests, self._problem, checks)

    @property
    def _command(self) -> str | None:
        return None if self._looked.tests is None else self._looked.tests.command

    def _test(self, command: str | None) -> Lead[Tests | None]:
        if command is None or self._files == self._looked.files:
            return None
        return (yield from looking.test(command))

    def _question(self, place: Place | None) -> str:
        if place is None:
            return self.asking.with_task(texts.ALL)
        done = [
            f"{texts.CHANGED.format(file=one.file)}\n{fenced(code)}"
            for one in self._where
            if one != place
            and (code := places.text_of(one, self._files[one.file]))
            and code != places.text_of(one, self._looked.files[one.file])
        ]
        home = f" of `{place.home}`" if place.home else ""
        told = {"name": place.name, "home": home, "file": place.file}
        if place.new:
            ask = texts.ADD.format(**told)
        elif self._repeats or place.file not in self.asking.shown:
            ask = texts.REWRITE_SHOWN.format(**told, code=fenced(self._code(place)))
        else:
            ask = texts.REWRITE.format(**told)
        if not self.asking.continues and not place.new:
            # What is begun as the definition has no room for an import above it.
            ask = f"{ask} {texts.IMPORTS}"
        return self.asking.with_task(*done, ask)

    def _again(self, place: Place, tests: Tests) -> str:
        output = project.told(tests.output, self._looked.names)
        problem = texts.FAILS.format(command=tests.command, output=fenced(output))
        again = texts.AGAIN.format(
            name=place.name, file=place.file, code=fenced(self._code(place)), problem=problem
        )
        return self.asking.with_task(again)

    def _code(self, place: Place) -> str:
        return places.text_of(place, self._files[place.file]) or ""

    def _suspect(self, tests: Tests) -> Place | None:
        """The place that a failing test leads to."""
        found = places.places("", self._files, tests.output)
        wanted = [one for one in self._where if one in found]
        return next(iter([*wanted, *self._where, *found]), None)

    def _ask(self, place: Place | None, ask: str) -> Lead[None]:
        beginning = ""
        if place is not None and self.asking.continues:
            beginning = answers.beginning(place, self._code(place))
        request = self.asking.request(texts.SYSTEM, ask, self._sampling, beginning=beginning)
        answer = yield Consult(request)
        said = answer.text() if isinstance(answer, Message) else ""
        if beginning and not answers.continues(beginning, said):
            # A server that begins anew: its answer may have been stopped before any code.
            self.asking = msgspec.structs.replace(self.asking, continues=False)
        text = answers.whole(beginning, said)
        wanted, self._problem = applied(self._files, text, place)
        changes = [
            call("Write", file_path=name, content=code)
            for name, code in wanted.items()
            if code != self._now.get(name)
        ]
        parts: tuple[Part, ...] = (Text(self._said(place)), *changes)
        done = yield Reading(Message("assistant", parts))
        if isinstance(done, Round):
            self._written(done, wanted)

    def _written(self, done: Round, wanted: Mapping[str, str]) -> None:
        """Take over what was written; what was refused stays as it was."""
        self.ended_ns = done.time_ns
        for one in done.results:
            if one.is_error:
                self._problem = self._problem or one.text
            else:
                name = argument(one.call, "file_path")
                self._now[name] = wanted[name]
        self._files = {name: self._now.get(name, code) for name, code in wanted.items()}

    def _said(self, place: Place | None) -> str:
        if self._problem:
            return self._problem
        return "Changing the files." if place is None else f"Changing {place.called}."


def applied(
    files: Mapping[str, str], answer: str, place: Place | None
) -> tuple[dict[str, str], str]:
    """The files with an answer in its places, and what was wrong with it."""
    changed, problem = dict(files), ""
    target = None if place is None else place.file
    own = {name: text for name, text in files.items() if not project.is_test(name)}
    for name, code in answers.blocks(answer, own, target):
        before = changed[name]
        result = graft(name, before, code, inside="" if place is None else place.home)
        if isinstance(result, Refused):
            problem = problem or result.why
            continue
        text = _completed(name, before, result)
        if parses.error_line(name, text) is not None:
            problem = "With the answer the file would no longer parse."
            continue
        changed[name] = before if text.split() == before.split() else text
    if changed != files:
        problem = ""
    return changed, problem or ("" if changed != files else "The answer changes nothing.")


def _completed(name: str, before: str, result: Applied) -> str:
    if not name.endswith(".py"):
        return result.text
    text = imports.needed(result.text, before)
    return text if imports.undefined(before) else imports.completed(text)
