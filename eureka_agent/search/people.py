"""People in the loop: what they say between generations is journaled, and steers what is asked for next.

Letters come through `inbox`, and at the terminal with `--interactive`. They count for the generation whose briefs are
decided next; a letter's file goes last, after what it asks for is done, so that a killed search loses none and uses
none twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eureka_agent.errors import UsageError
from eureka_agent.lab.filming import film, seen_by_now
from eureka_agent.population import Brief, Population, Proposal
from eureka_agent.proposers import Proposer
from eureka_agent.review.record import MOST_WORDS, check_review
from eureka_agent.review.steering import Said, ancestors_of
from eureka_agent.runs.inbox import (
    MOST_LETTERS,
    Feedback,
    GoOn,
    Letter,
    Message,
    Pause,
    Reviewed,
    StopAfterGeneration,
    Taken,
    forget,
    letters,
    refuse,
)
from eureka_agent.runs.run import Run
from eureka_agent.search.tuning import OPERATOR as TUNE
from eureka_agent.search.tuning import tuned
from eureka_agent.settings import Settings
from eureka_agent.text import resuming, visible

if TYPE_CHECKING:
    from eureka_agent.lab.lab import Lab

LOOK_SECONDS = 0.5
"""How often a paused search looks for letters."""
Ask = Callable[[Population], str]
"""Asks the person at the terminal after a generation; empty: nothing to say."""


def heard(lab: Lab, population: Population) -> Population:
    """Take up what people have said since the last generation, and return the population as it counts now.

    Waits while the search is paused. A search that was killed with its generation's briefs decided goes on with them,
    and hears at the next generation.
    """
    run, number = lab.run, population.generations
    if not run.has_decided(f"g{number}/briefs"):
        if not run.comparison():
            film(lab, seen_by_now(run, population))
        asked = _asked(lab, population)
        found = _until_not_paused(lab, population)[:MOST_LETTERS]
        before = run.taken()
        known = {name for taken in before for name in taken.files}
        fresh = [letter for letter in found if letter.name not in known]
        messages = (*(letter.message for letter in fresh), *asked)
        if messages:
            taken = Taken(generation=number, files=tuple(letter.name for letter in fresh), messages=messages)
            here = sum(earlier.generation == number for earlier in before)
            run.decide(f"g{number}/inbox/{here}", Taken, lambda: taken)
            _say(lab, taken, before)
        if any(isinstance(letter.message, StopAfterGeneration) for letter in found):
            run.amend({"generations": max(1, number)})
        for letter in found:
            forget(run.folder, letter.name)
    return run.steered(population)


def with_people(briefs: Sequence[Brief], run: Run, population: Population) -> list[Brief]:
    """The next generation's briefs with those that people write: seeds take the first places, edits come on top."""
    result, generation = list(briefs), population.generations
    if generation == 0:
        for slot in range(min(len(run.settings.seed_rewards), len(result))):
            result[slot] = result[slot].model_copy(update={"operator": "seed", "parents": ()})
    for edit in (e for e in run.steering.edits if e.generation == generation):
        slot = 1 + max((brief.slot for brief in result), default=-1)
        name = f"g{generation}c{slot}"
        seed = run.settings.derived_seed("propose", name)
        parents = (edit.candidate,)
        child = Brief(id=name, generation=generation, slot=slot, operator="edit", parents=parents, seed=seed)
        result.append(child.model_copy(update={"island": population[edit.candidate].brief.island}))
    return result


def proposed(lab: Lab, proposer: Proposer, brief: Brief, briefs: Sequence[Brief], population: Population) -> Proposal:
    """The answer to one of a generation's briefs: a person's own code after the gates, or what the proposer writes."""
    own = {
        "seed": lab.run.settings.seed_rewards,
        "edit": [edit.code for edit in lab.run.steering.edits if edit.generation == brief.generation],
    }.get(brief.operator)
    if brief.operator == TUNE:
        return tuned(brief, briefs, population, lab.run.task)
    if own is None:
        return proposer.propose(brief, lab.run.task, population)
    from eureka_agent.llm.gates import examine_code

    alike = sorted(b.slot for b in briefs if b.operator == brief.operator)
    examined = examine_code(own[alike.index(brief.slot)], lab.run.task, lab.smoke)
    return examined.proposal.model_copy(update={"catches": (examined.catch,) if examined.catch else ()})


def told(run: Run, brief: Brief, population: Population) -> tuple[Said, ...]:
    """What a prompt quotes from people."""
    steering = run.steering
    if not steering.feedback and not steering.opinions:
        return ()
    return steering.told(brief, ancestors_of(brief, {c.id: c for c in population.candidates}))


def reads_words(settings: Settings) -> bool:
    """Whether the run's model reads prompts."""
    return settings.model.partition(":")[0] not in ("offline", "replay", "scripted")


def _asked(lab: Lab, population: Population) -> tuple[Message, ...]:
    over = population.generations >= lab.run.settings.generations
    if lab.ask is None or not population.generations or over:
        return ()
    text = lab.ask(population).encode("utf-8", "replace").decode().strip()
    if len(text) > MOST_WORDS:
        lab.watcher.stage(f"only the first {MOST_WORDS:,} characters are kept")
    return (Feedback(text=text[:MOST_WORDS]),) if text else ()


def _until_not_paused(lab: Lab, population: Population) -> list[Letter]:
    """The letters that can be used, once none of them says to wait."""
    waits, checked = False, set[str]()
    try:
        while True:
            found = _usable(lab, checked)
            reason = _reason_to_wait(lab.run, population, [letter.message for letter in found])
            if not reason:
                return found
            if not waits:
                lab.watcher.waiting(reason)
                waits = True
            lab.boxes.check_time()
            lab.boxes.stopping.wait(LOOK_SECONDS)
    finally:
        if waits:
            lab.watcher.waiting("")


def _reason_to_wait(run: Run, population: Population, messages: Sequence[Message]) -> str:
    state = [m for m in messages if isinstance(m, Pause | GoOn | StopAfterGeneration)]
    if state:
        how = f"`eureka feedback {run.folder} --go-on`"
        return f"paused by a person; {how} goes on" if isinstance(state[-1], Pause) else ""
    if not run.task.spec.by_preference or not population.ranked or run.comparison():
        return ""
    earlier = [m for taken in run.taken() if taken.generation == population.generations for m in taken.messages]
    if any(isinstance(message, Reviewed | GoOn) for message in (*earlier, *messages)):
        return ""
    return f"people's preference is the fitness of {run.task.name}: `eureka review {run.folder}` takes it"


def _usable(lab: Lab, checked: set[str]) -> list[Letter]:
    """Letters, without reviews of something else; whose names are in `checked` were looked at before."""
    found, complaints = letters(lab.run.folder)
    usable = []
    for letter in found:
        try:
            if isinstance(letter.message, Reviewed) and letter.name not in checked:
                check_review(letter.message.review, lab.run)
                checked.add(letter.name)
            usable.append(letter)
        except UsageError as wrong:
            complaints.append(refuse(lab.run.folder, letter.name, str(wrong)))
    for complaint in complaints:
        lab.watcher.stage(complaint)
    return usable


def _say(lab: Lab, taken: Taken, before: Sequence[Taken]) -> None:
    """What was taken up, on the terminal; that nobody reads words is said the first time."""
    words = False
    for message in taken.messages:
        if isinstance(message, Feedback):
            words = True
            lab.watcher.stage(f"a person says: {visible(' '.join(message.text.split()))}")
        elif isinstance(message, Reviewed):
            words = words or any(o.comment.strip() for o in message.review.opinions) or bool(message.review.feedback)
            lab.watcher.stage(f"review: {message.review}")
    if steers(taken) and taken.generation >= lab.run.settings.generations:
        again = resuming(str(lab.run.folder), lab.run.settings.sandbox)
        lab.watcher.stage(f"the search ends here; `{again} -g …` goes on with it")
    if words and not reads_words(lab.run.settings) and not any(steers(earlier) for earlier in before):
        model = lab.run.settings.model.partition(":")[0]
        lab.watcher.stage(f"{model} reads no prompts: words are kept with the run, and change nothing")


def steers(taken: Taken) -> bool:
    """Whether it holds words or a review."""
    return any(isinstance(message, Feedback | Reviewed) for message in taken.messages)
