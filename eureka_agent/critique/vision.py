"""What a vision model sees in frames of a policy (`--vision-model`): words and a number beside the score.

They are quoted in later prompts and in the report. They select only where the task says so (`fitness: vision`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from eureka_agent.contract.task import Task
from eureka_agent.critique.commenting import fittest
from eureka_agent.errors import EnvironmentMissing, Paused, UsageError
from eureka_agent.lab.filming import frames
from eureka_agent.lab.lab import Lab
from eureka_agent.llm.ledger import again
from eureka_agent.llm.prompting import LOOKS
from eureka_agent.population import Candidate, Judgement, Score
from eureka_agent.runs.run import Run
from eureka_agent.terminal.watcher import Watcher
from eureka_agent.text import plural
from eureka_sandbox.protocol import Failure

ASKED_AT_ONCE = 16
"""Most requests at the same time."""


class Judge(Protocol):
    """Whoever looks at frames."""

    def look(self, candidate: Candidate, frames: Score, task: Task) -> Judgement:
        """How far the policy has come, from a contact sheet of it (`frames.frames`).

        Raises:
            EurekaError: nobody can be asked as things are.
        """
        ...


@dataclass
class Eyes:
    """A judge in one sitting."""

    judge: Judge
    blind: str = ""
    """Why nobody is shown anything any more."""
    _told: set[str] = field(default_factory=set)

    def tell(self, watcher: Watcher, why_not: str) -> None:
        """Say why there is no judgement, each reason once."""
        if why_not and why_not not in self._told:
            self._told.add(why_not)
            watcher.stage(f"no judgement of frames: {why_not}")


def looked_at(lab: Lab, eyes: Eyes | None, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates of a generation, with what a vision model sees of those that are shown to it.

    Raises:
        EnvironmentMissing: no frames can be drawn, and what is seen is the task's fitness.
        UsageError: as that, but the model takes no pictures.
        Paused: as that, but nothing came of showing any of them, and nobody was judged before; a resume asks again.
    """
    shown = [] if eyes is None else worth_showing(candidates, lab.run.task)
    if eyes is None or not shown:
        return list(candidates)
    unseen = [c for c in shown if not lab.run.has_decided(_key(c)) and not eyes.blind]
    drawn = lab.boxes.side_by_side(partial(frames, lab), unseen)
    sheets = {c.id: sheet for c, sheet in zip(unseen, drawn, strict=True)}

    def look(candidate: Candidate) -> Judgement:
        known = lab.run.decided(_key(candidate), Judgement)
        judgement = known or _judgement(lab, eyes, candidate, sheets.get(candidate.id))
        return _kept(lab, candidate, judgement) if judgement.vision or not lab.run.task.spec.by_vision else judgement

    judgements = lab.boxes.side_by_side(look, shown, workers=min(ASKED_AT_ONCE, len(shown)))
    if lab.run.task.spec.by_vision and not any(judgement.vision for judgement in judgements):
        _stop_unless_judged_before(lab.run, shown, judgements)
    judgements = [_kept(lab, *judged) for judged in zip(shown, judgements, strict=True)]
    for judgement in judgements:
        eyes.blind = eyes.blind or (judgement.why_not if judgement.blind else "")
        eyes.tell(lab.watcher, judgement.why_not)
    visions = {c.id: judgement.vision for c, judgement in zip(shown, judgements, strict=True)}
    seen = [c.model_copy(update={"vision": visions.get(c.id)}) for c in candidates]
    _tell_best(lab.watcher, seen)
    return seen


def worth_showing(candidates: Sequence[Candidate], task: Task) -> list[Candidate]:
    """Whoever is shown: the best two, or all that were trained to their end if that selects; each program once."""
    if not task.spec.by_vision:
        return fittest(candidates)
    return [c for c in candidates if c.score is not None and c.duplicate_of is None and not c.stopped]


def _key(candidate: Candidate) -> str:
    return f"{candidate.id}/vision"


def _kept(lab: Lab, candidate: Candidate, judgement: Judgement) -> Judgement:
    return lab.run.decide(_key(candidate), Judgement, lambda: judgement)


def _stop_unless_judged_before(run: Run, shown: Sequence[Candidate], judgements: Sequence[Judgement]) -> None:
    """Nothing was seen of a generation: whoever was seen before leads, and without them the metric would select."""
    before = run.population(curves=False)
    if any(c.vision and c.id not in before.outcast for c in before.candidates):
        return
    names = {candidate.id for candidate in shown}
    for call in run.calls():
        if call.brief in names and call.purpose in LOOKS and call.answered:
            run.save_call(call.model_copy(update={"fault": "bad_answer", "message": "of no use; asked for afresh"}))
    raise Paused(
        f"no judgement of any of {plural(len(shown), 'candidate')}, last: {judgements[-1].why_not}; the fitness of "
        f"{run.task.name} is what a vision model sees, so none can be selected; to ask again (a mailbox's answers are "
        f"read anew): {again(run)}"
    )


def _judgement(lab: Lab, eyes: Eyes, candidate: Candidate, sheet: Score | Failure | None) -> Judgement:
    if isinstance(sheet, Failure):
        judgement = Judgement(why_not=f"{candidate.id}: {sheet}")
    elif sheet is None:
        judgement = Judgement(why_not=eyes.blind, blind=True)
    elif sheet.frames is None:
        judgement = Judgement(why_not=sheet.video_note or "box B drew none", blind=True)
    else:
        judgement = eyes.judge.look(candidate, sheet, lab.run.task)
    if judgement.blind and lab.run.task.spec.by_vision:  # not journaled: a sitting that sees can go on
        why = f"{judgement.why_not}; the fitness of {lab.run.task.name} is what a vision model sees"
        if isinstance(sheet, Score) and sheet.frames:
            raise UsageError(f"{why}: begin a new run with another")
        raise EnvironmentMissing(f"{why}: resume the run where OpenGL is")
    return judgement


def _tell_best(watcher: Watcher, candidates: Sequence[Candidate]) -> None:
    seen = [(c.vision.progress, c.id, c.vision.seen) for c in candidates if c.vision]
    if seen:
        progress, name, words = max(seen)
        watcher.stage(f"{name}: a vision model sees it at {progress:g} of 100: {words}")
