"""What a candidate's recorded episodes show, as typed findings and behaviour descriptors: no language model, no reward.

Everything comes from simulator state, the task's own score and what play without learning reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from eureka_agent.contract.reward_code import is_scheduled
from eureka_agent.contract.task import Task
from eureka_agent.lab.floor import RANDOM
from eureka_agent.population import Candidate, Population, Score
from eureka_agent.runs.run import Run
from eureka_agent.terminal.watcher import Watcher
from eureka_evaluation.finding import Finding, most_telling
from eureka_sandbox.protocol import Failure

if TYPE_CHECKING:
    from eureka_evaluation.analysis import Recorded, Subject

OWN_RETURN = "rollout/ep_rew_mean"
_known: dict[str, Recorded] = {}
"""Random play's and the incumbent's episodes, by the digest of the recording: the same for a whole generation."""
MOST_KNOWN = 4


def analysed(candidate: Candidate, population: Population, run: Run) -> Candidate:
    """The candidate with `findings`, and with `behaviour` if episodes of it were recorded.

    Args:
        candidate: measured.
        population: the generations before its own, whose incumbent it is held against.
        run: holds the recordings.

    Raises:
        RunError: a recording is missing or damaged.
    """
    from eureka_evaluation.analysis import analyse, behaviour

    subject = _subject(candidate, population, run)
    about_reward = _component_findings(candidate)
    if subject is None:
        return candidate.model_copy(update={"findings": most_telling(about_reward)})
    findings = most_telling((*analyse(subject), *about_reward))
    found = {"findings": findings, "behaviour": behaviour(subject, run.task.spec.descriptors)}
    return candidate.model_copy(update=found)


def tell(watcher: Watcher, candidates: Iterable[Candidate]) -> None:
    """Say what stands out about the fittest of a generation, and whether it looks exploited."""
    scored = [c for c in candidates if c.fitness is not None and not c.stopped]
    if not scored:
        return
    best = max(scored, key=lambda c: c.fitness or 0.0)
    for finding in (*most_telling(best.findings, 1), *most_telling(best.suspicions, 1)):
        watcher.stage(f"{best.id}: {finding.text}")


def _component_findings(candidate: Candidate) -> tuple[Finding, ...]:
    from eureka_evaluation.component_findings import component_findings
    from eureka_evaluation.components import component_statistics, per_step

    if candidate.training is None:
        return ()
    statistics = component_statistics(per_step(candidate.training.curves))
    return tuple(component_findings(statistics, scheduled=is_scheduled(candidate.code)))


def _subject(candidate: Candidate, population: Population, run: Run) -> Subject | None:
    from eureka_evaluation.analysis import subject_of
    from eureka_evaluation.recording import load_episodes

    score, task = candidate.score, run.task
    if score is None or score.episodes is None:
        return None
    best = population.best
    leader = None if best is None or best.score is None or best.score.episodes == score.episodes else best.score
    incumbent = _recorded(leader, run)
    return subject_of(
        load_episodes(run.blob(score.episodes)),
        score.fitness,
        score.success,
        score.lengths,
        task.spec.environment.episode_steps,
        floor=_recorded(run.score(RANDOM), run),
        incumbent=incumbent.tracks if incumbent else (),
        own_return=_own_return(candidate),
        unit=task.spec.metric.unit,
        human=task.anchors.human.mean if task.anchors else None,
        **_declared(task),
    )


def _own_return(candidate: Candidate) -> Sequence[float | None]:
    """Over training; nothing where returns of different times do not compare."""
    if candidate.training is None or is_scheduled(candidate.code):
        return ()
    return candidate.training.curves.get(OWN_RETURN, ())


def _declared(task: Task) -> dict[str, Any]:
    """What body and task say of the state variables, of terminal states and of limbs."""
    from eureka_evaluation.analysis import Limbs, Variable

    body = task.body
    kinds = {v.name: v.kind for v in body.variables}
    specs = (*(v.spec for v in body.variables), *task.spec.derived)
    limbs = [
        Limbs(
            pair.names,
            tuple(
                (f"joint_angles[{a}]", f"joint_angles[{b}]", -1 if place in pair.opposed else 1)
                for place, (a, b) in enumerate(pair.joints)
            ),
            (f"foot_contacts[{pair.feet[0]}]", f"foot_contacts[{pair.feet[1]}]"),
        )
        for pair in body.limbs
    ]
    return {
        "variables": [Variable(v.name, v.unit, kinds.get(v.name, ""), v.frame) for v in specs],
        "healthy": {} if task.ends_episodes else body.healthy,
        "limbs": tuple(limbs),
    }


def _recorded(score: Score | Failure | None, run: Run) -> Recorded | None:
    """The episodes of a score as tables, or None if it has none."""
    from eureka_evaluation.analysis import Recorded, tracks_of
    from eureka_evaluation.recording import load_episodes

    if not isinstance(score, Score) or score.episodes is None:
        return None
    if score.episodes not in _known:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        tracks = tracks_of(load_episodes(run.blob(score.episodes)), score.fitness)
        _known[score.episodes] = Recorded.of(tracks, score.fitness)
    return _known[score.episodes]
