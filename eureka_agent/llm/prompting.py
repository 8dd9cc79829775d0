"""Composes the prompts from templates (`prompts/*.md.j2`): a system prompt, then one request per operator, then repair.

A folder of the user's own templates replaces the shipped ones name by name. A parent's code is shown as it is; whatever
else comes from a candidate reaches a prompt only as a number, a checked name or text that this package wrote.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2

from eureka_agent.content import content
from eureka_agent.contract.task import Task
from eureka_agent.errors import UsageError
from eureka_agent.lab.floor import Floor
from eureka_agent.llm.bounded import SHORT, stuck, too_long
from eureka_agent.llm.extract import Extracted, extract_code
from eureka_agent.llm.facts import Scores, facts, known_here, line, number, share
from eureka_agent.llm.reasons import told
from eureka_agent.llm.turns import last_turns
from eureka_agent.population import Brief, Candidate, Population, Record
from eureka_agent.review.steering import Said
from eureka_agent.runs.calls import Message as Message
from eureka_agent.runs.calls import Picture
from eureka_agent.settings import Recipe, Settings
from eureka_agent.strategies import TELLS_NO_HISTORY
from eureka_agent.text import visible
from eureka_sandbox.bodies import TRAINING_PROGRESS
from eureka_sandbox.protocol import Failure, SheetSpec

HISTORY = 4
"""How many other candidates a prompt tells of: the best ones, beside the last turns of its own lineage."""
LOOKS = ("vision", "vision2")
"""Purposes of requests that show a picture: the question, and the same again after an answer of no use."""


class Request(Record):
    """What a language model is asked."""

    messages: tuple[Message, ...]
    brief: str
    """Id of the candidate that the answer becomes."""
    purpose: str
    """`propose`, `repair`, `critic`, `critic2`, …, `revise`, `revise2`, …, `comment`, `vision`, `vision2`"""
    position: int
    """How many candidates of the run were asked for before this one."""

    @property
    def pictured(self) -> bool:
        """Whether it shows a picture."""
        return any(message.picture for message in self.messages)


class Prompts:
    """The templates.

    Args:
        folder: templates that replace the shipped ones of the same name.
        settings: the run's, whose training recipe the prompts tell; the task's own recipe without them.
        floor: what play without learning reached, once it is known; its ranges stand in the table of state variables.
        said: what people want to tell the author of a candidate.
        scores: of all trainings that a candidate's fitness is the mean of.

    Raises:
        UsageError: `folder` is not there, or holds a template that nothing uses or that is not valid Jinja.
    """

    def __init__(
        self,
        folder: Path | None = None,
        settings: Settings | None = None,
        floor: Callable[[], Floor | None] = lambda: None,
        said: Callable[[Brief, Population], Sequence[Said]] = lambda brief, population: (),
        scores: Scores = known_here,
    ) -> None:
        self._settings = settings or Settings()
        self._floor = floor
        self._said = said
        self._scores = scores
        shipped = content("prompts")
        known = {path.name for path in shipped.glob("*.j2")}
        given = {path.name for path in folder.glob("*.j2")} if folder and folder.is_dir() else set()
        if folder and (not given or given - known):
            stray = f"nothing uses {sorted(given - known)[0]!r}" if given else "no *.md.j2 there"
            raise UsageError(f"prompts folder {folder}: {stray}; templates are {', '.join(sorted(known))}")
        folders = [folder, shipped] if folder else [shipped]
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folders),
            undefined=_Unknown,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # the output is Markdown for a model, never HTML
        )
        self._environment.filters |= {"fenced": fenced, "quoted": _quoted}
        self._environment.filters |= {"line": line, "cell": _cell, "number": number, "share": share}
        for name in sorted(given):
            self._template(name)

    def compose(self, brief: Brief, task: Task, population: Population) -> Request:
        """The conversation that asks for the candidate of `brief`."""
        parents = [population[name] for name in brief.parents]
        told_of = Population() if self._settings.strategy in TELLS_NO_HISTORY else population
        turns = last_turns(brief, told_of)
        shown = {*brief.parents, *(turn.child for turn in turns)}
        others = (c for c in told_of.ranked if c.id not in shown)
        user = self._rendered(
            f"{brief.operator}.md.j2",
            brief=brief,
            said=self._said(brief, population),
            angle=_angle(brief, population),
            **self._conditions(task),
            terminal=_terminal_states(task),
            parents=[facts(parent, population, self._scores) for parent in parents],
            turns=turns,
            history=[facts(c, told_of, self._scores) for c in islice(others, HISTORY)],
            failures=[_failure(c) for c in _last(told_of, lambda c: bool(c.failure) and not c.duplicate_of)],
            repeats=[_repeat(c) for c in _last(population if parents else told_of, lambda c: bool(c.duplicate_of))],
        )
        messages = (Message(role="system", content=self._rendered("system.md.j2")), Message(role="user", content=user))
        position = sum(c.brief.generation < brief.generation for c in population.candidates) + brief.slot
        return Request(messages=messages, brief=brief.id, purpose="propose", position=position)

    @property
    def tokens(self) -> int:
        """How long a prompt may be."""
        return self._settings.prompt_tokens

    def repair(self, request: Request, answer: str, reason: str, failure: Failure | None) -> Request:
        """The same conversation, the answer, and what was wrong with it."""
        line = failure.line if failure else None
        return _continued(request, answer, self._rendered("repair.md.j2", reason=reason, line=line), "repair")

    def criticise(
        self,
        request: Request,
        code: str,
        task: Task,
        number: int,
        silent: Sequence[str] = (),
        earlier: Sequence[str] = (),
    ) -> Request:
        """A conversation of its own that asks for objections to a candidate's code.

        `silent` are components that never changed on recorded transitions, `earlier` the objections of earlier rounds.
        """
        user = self._rendered("critic.md.j2", **self._conditions(task), code=code, silent=silent, earlier=earlier)
        messages = (Message(role="user", content=user),)
        return request.model_copy(update={"messages": messages, "purpose": _numbered("critic", number)})

    def revise(self, request: Request, answer: str, objections: str, number: int) -> Request:
        """The candidate's own conversation, the answer, and the objections to it."""
        user = self._rendered("revise.md.j2", objections=objections)
        return _continued(request, answer, user, _numbered("revise", number))

    def comment(self, candidate: Candidate, task: Task) -> Request:
        """A conversation of its own that asks for words on what was measured of a candidate."""
        user = self._rendered("comment.md.j2", **self._conditions(task), candidate=facts(candidate, Population()))
        messages = (Message(role="user", content=user),)
        return Request(messages=messages, brief=candidate.id, purpose="comment", position=0)

    def look(self, brief: str, picture: Picture, steps: int, task: Task, reason: str = "") -> Request:
        """A conversation of its own that shows frames of a policy and asks how far from baseline to goal they are.

        Args:
            brief: id of the candidate.
            picture: the contact sheet.
            steps: control steps of the episode that it is of.
            task: says goal and baseline.
            reason: what was wrong with an earlier answer.
        """
        seconds = steps * task.body.dt
        user = self._rendered("vision.md.j2", task=task, sheet=SheetSpec(), steps=steps, seconds=seconds, reason=reason)
        messages = (Message(role="user", content=user, picture=picture),)
        return Request(messages=messages, brief=brief, purpose=LOOKS[bool(reason)], position=0)

    def _conditions(self, task: Task) -> dict[str, Any]:
        """What a candidate is written for: the task, its variables with their ranges, and the training."""
        recipe, floor = Recipe.of(task, self._settings), self._floor()
        return {
            "task": task,
            "variables": task.variables,
            "ranges": {v.name: _range(v.name, floor) for v in task.variables} if floor else {},
            "recipe": recipe,
            "gamma": recipe.discount,
            "warm_start": self._settings.warm_start,
        }

    def _rendered(self, name: str, **values: Any) -> str:
        template = self._template(name)
        try:
            return template.render(**values).strip() + "\n"
        except jinja2.TemplateNotFound as error:
            raise UsageError(f"prompt template {name}: there is no {error.name!r} to include") from error
        except jinja2.TemplateError as error:
            message = error.message or ""
            if message.endswith(" is undefined"):
                message += _there_is(values)
            raise UsageError(f"prompt template {_place(error) or name}: {message}") from error

    def _template(self, name: str) -> jinja2.Template:
        try:
            return self._environment.get_template(name)
        except jinja2.TemplateNotFound as error:
            raise UsageError(f"no prompt template {error.name!r} in {content('prompts')}") from error
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(f"prompt template {error.filename}:{error.lineno}: {error.message}") from error


class _Unknown(jinja2.StrictUndefined):
    """A name that there is not: an error that lists those that there are."""

    @property
    def _undefined_message(self) -> str:
        known = self._undefined_obj
        return super()._undefined_message + (_there_is(known) if isinstance(known, Mapping) else "")


def _there_is(names: Iterable[str]) -> str:
    return f"; there is {', '.join(sorted(names)) or 'no other'}"


def _place(error: Exception) -> str:
    """`FILE:LINE` of the innermost template; Jinja gives tracebacks the lines of the templates."""
    places = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__) if ".j2" in f.filename]
    return places[-1] if places else ""


def _last(population: Population, fits: Callable[[Candidate], bool]) -> list[Candidate]:
    """The latest few candidates that fit, in order of birth; a run may have thousands."""
    return list(islice(filter(fits, reversed(population.candidates)), HISTORY))[::-1]


def _continued(request: Request, answer: str, user: str, purpose: str) -> Request:
    turns = (Message(role="assistant", content=told_back(answer)), Message(role="user", content=user))
    return request.model_copy(update={"messages": (*request.messages, *turns), "purpose": purpose})


def _numbered(purpose: str, number: int) -> str:
    return purpose if number == 1 else f"{purpose}{number}"


def told_back(answer: str) -> str:
    """An answer as its conversation goes on from it: of one without end the beginning, and the code in it, if any."""
    if not too_long(answer) and not stuck(answer):
        return answer
    found = extract_code(answer)
    return f"{answer[:SHORT]}\n[…]\n" + (f"{fenced(found.code)}\n" if isinstance(found, Extracted) else "")


def fenced(code: str) -> str:
    """Code in a fence that it cannot close itself."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}python\n{code.rstrip()}\n{fence}"


def _range(name: str, floor: Floor) -> str:
    """`−0.2 to 1.3`, over all elements of a vector."""
    if name == TRAINING_PROGRESS.name:
        return "0 to 1"
    ranges = floor.range_of(name)
    return f"{number(min(r.low for r in ranges))} to {number(max(r.high for r in ranges))}" if ranges else "–"


def _angle(brief: Brief, population: Population) -> int:
    """A number that differs among siblings of one operator and moves on with the generations.

    Models answer the same question alike, so no two siblings are asked quite the same.
    """
    return sum(c.brief.operator == brief.operator for c in population.candidates) + brief.slot


def _failure(candidate: Candidate) -> str:
    """`g0c2 (run-time error: IndexError at line 12)`."""
    assert candidate.failure is not None
    line = f" at line {candidate.failure.line}" if candidate.failure.line else ""
    return f"{candidate.id} ({told(candidate.failure, candidate.code)}{line})"


def _repeat(candidate: Candidate) -> str:
    """`g0c2 (as g0c1)`, or `(behaves as g0c1)` where the text differs."""
    return f"{candidate.id} ({'behaves as' if candidate.behaves_alike else 'as'} {candidate.duplicate_of})"


def _terminal_states(task: Task) -> str:
    """When the robot's own rule ends an episode, as the catalogue's `terminated` says it in parentheses."""
    if task.ends_episodes:
        return "as `terminated` in task.py says"
    rule = re.search(r"\((.*)\)", task.body.variable("terminated").meaning)
    return rule[1].replace("it has none", "none") if rule else "none"


def _quoted(text: str) -> str:
    """A person's words, each line marked, so that none can pass for a heading or a fence."""
    return "\n".join(f"> {visible(line)}".rstrip() for line in text.splitlines())


def _cell(text: str) -> str:
    """Text that stays inside one cell of a Markdown table."""
    return line(text).replace("|", "\\|")
