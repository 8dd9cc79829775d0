"""The trainings of one generation, rung by rung as `racing` says. Every rung is journaled; resume finds them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eureka_agent.lab.racing import Bracket, Fate, brackets, fates, saved
from eureka_agent.population import Candidate, Rung, rung_key
from eureka_agent.search.comparison import Trial
from eureka_agent.text import count, plural

if TYPE_CHECKING:
    from eureka_agent.lab.lab import Lab

Train = Callable[[Candidate, str, int | None], Trial]
"""Trains a candidate and scores its policy: candidate, key, and the environment steps to stop at (None: to the end)."""
Step = tuple[str, int]
"""A candidate's id and the rung of its bracket that it trains to."""


class Generation:
    """Which candidate trains next, and what became of each. Used by one thread, but for `train`."""

    def __init__(self, candidates: Sequence[Candidate], brackets: Sequence[Bracket], train: Train) -> None:
        """`candidates` are those of the brackets, none failed yet."""
        self.brackets = brackets
        self.candidates = {c.id: c for c in candidates}
        self._train = train
        self._bracket = {name: bracket for bracket in brackets for name in bracket.members}
        self._seen: dict[str, list[float | None]] = {c.id: [] for c in candidates}
        self._settled: set[str] = set()

    def ready(self) -> list[Step]:
        """What can be trained now or is being trained, the furthest first."""
        steps = [
            (name, len(self._seen[name]))
            for bracket in self.brackets
            for name, fate in fates(bracket, self._seen).items()
            if fate is Fate.GOES_ON
        ]
        return sorted(steps, key=lambda step: -self._bracket[step[0]].rungs[step[1]])

    def train(self, step: Step) -> Trial:
        """In any thread: to the rung, or to the end."""
        name, rung = step
        rungs = self._bracket[name].rungs
        if rung == len(rungs) - 1:
            return self._train(self.candidates[name], name, None)
        return self._train(self.candidates[name], rung_key(name, rung), rungs[rung])

    def ended(self, step: Step, trial: Trial) -> Candidate:
        """Take a trial into account; returns the candidate as far as it has come."""
        name, rung = step
        candidate, training, score = self.candidates[name], trial.training, trial.score
        on_the_way = rung < len(self._bracket[name].rungs) - 1
        changes: dict[str, object] = {"training": training, "score": score, "failure": trial.failure}
        if on_the_way and trial.failure:
            changes["training"] = None  # what there is of it belongs to no end
        elif on_the_way and training and score:
            seen = Rung(timesteps=training.timesteps, fitness=score.mean, own_return=training.peak_return)
            changes["rungs"] = (*candidate.rungs, seen)
        self.candidates[name] = candidate.model_copy(update=changes)
        self._seen[name].append(score.mean if score else None)
        return self.candidates[name]

    def settled(self) -> list[Candidate]:
        """Those whose fate has become certain since this was last asked, as they are to be kept."""
        new = []
        for bracket in self.brackets:
            for name, fate in fates(bracket, self._seen).items():
                if fate in (Fate.STOPPED, Fate.FAILED, Fate.FINISHED) and name not in self._settled:
                    self._settled.add(name)
                    if fate is Fate.STOPPED:
                        self.candidates[name] = self.candidates[name].model_copy(update={"stopped": True})
                    new.append(self.candidates[name])
        return new

    @property
    def summary(self) -> str:
        """What racing saved, in a line; empty if it stopped nothing."""
        stopped = sum(c.stopped for c in self.candidates.values())
        if not stopped:
            return ""
        parts = [saved(b, {name: self._seen[name] for name in b.members}) for b in self.brackets]
        less, whole = sum(part[0] for part in parts), sum(part[1] for part in parts)
        trainings = plural(len(self.candidates), "training")
        return (
            f"racing stopped {stopped} of {trainings} early and saved {count(less)} of {count(whole)} environment steps"
            f" ({less / whole:.0%})"
        )


def raced(lab: Lab, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each with what its training came to, saved as soon as that is settled; `racing` stops some on the way."""
    entered = [c for c in candidates if c.failure is None]
    races = brackets(lab.run.settings, lab.recipe, [c.id for c in entered])
    generation = Generation(entered, races, lab.train_to)

    def keep(settled: Sequence[Candidate]) -> None:
        for candidate in settled:
            lab.run.save(candidate)
            lab.watcher.finished(candidate)

    def ended(step: Step, trial: Trial) -> None:
        candidate = generation.ended(step, trial)
        if trial.score and step[1] < len(candidate.rungs):
            lab.watcher.raced(candidate)
        keep(generation.settled())

    stillborn = [c for c in candidates if c.failure]
    keep(stillborn)
    lab.boxes.as_ready(generation.train, generation.ready, ended)
    if generation.summary:
        lab.watcher.stage(generation.summary)
    return [*stillborn, *generation.candidates.values()]
