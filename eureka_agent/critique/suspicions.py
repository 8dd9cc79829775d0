"""Signs that a reward is exploited rather than the task solved. They are shown and told; they never steer selection."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from eureka_agent.contract.reward_code import is_scheduled
from eureka_agent.lab.judging import HUMAN, Judged, JudgedBank, bank_key, judged_key, probes_in, transitions_of
from eureka_agent.population import Candidate, Population, Record
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison
from eureka_agent.settings import Recipe
from eureka_agent.standing import Standing
from eureka_sandbox.bank import VALUES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eureka_evaluation.decomposition import PerStep
    from eureka_evaluation.finding import Finding
    from eureka_evaluation.hacking_evidence import Evidence
    from eureka_evaluation.transitions import Transitions

    Floats = NDArray[np.float64]


def suspected(candidate: Candidate, population: Population, run: Run) -> Candidate:
    """The candidate with `suspicions` set: what its curves, its episodes and its code show, the weightiest first.

    Args:
        candidate: measured; one that failed comes back as it is.
        population: the generations before it.
        run: whose journal and blobs hold the values that its reward gave on the generation's bank.

    Raises:
        RunError: a blob is missing or damaged.
    """
    if candidate.score is None:
        return candidate
    return candidate.model_copy(update={"suspicions": _signs(candidate, _evidence(candidate, population, run), run)})


def suspected_at_last(compared: Comparison, population: Population, run: Run) -> Comparison:
    """The comparison with all signs about its candidate, now with what only the end of a run shows.

    That is: its policy in held-out variations, its trainings in contests and here, and the distances of all rewards of
    the run. The candidate itself is left as it was: whoever writes the next reward, should the search go on, is told
    nothing of what was held out.

    Args:
        compared: without `suspicions`.
        population: of the whole run.
        run: as for `suspected`.

    Raises:
        RunError: a blob is missing or damaged.
    """
    best = population[compared.candidate]
    evidence = _evidence(best, population, run)
    if evidence:
        held = compared.robustness.arm("candidate") if compared.robustness else None
        evidence = replace(
            evidence,
            spread=_spread(run, population.generations - 1),
            nominal=held.nominal if held else None,
            variations=tuple(fmean(outcome.fitness) for outcome in held.measured) if held else (),
            selected=_selected(best, run),
            fresh=tuple(trial.score.mean for trial in compared.arm("candidate").trials if trial.score),
        )
    return compared.model_copy(update={"suspicions": _signs(best, evidence, run)})


def _selected(best: Candidate, run: Run) -> tuple[float, ...]:
    """Trainings that selected it and began from scratch, as those do that they are held against."""
    if best.stopped or best.fitness is None:
        return ()
    standing = run.standings().get(best.id) or Standing.screened(best)
    if best.training and best.training.warm_start:
        return standing.finished if standing.warm else ()
    return standing.counted


def _evidence(candidate: Candidate, population: Population, run: Run) -> Evidence | None:
    """On the bank of the generation in which the reward was judged: its own, or that of whom it duplicates."""
    original = candidate.duplicate_of or candidate.id
    born = {c.id: c.brief.generation for c in population.candidates if c.id == original}
    return evidence_of(candidate, original, born.get(original, candidate.brief.generation), run)


def _signs(candidate: Candidate, evidence: Evidence | None, run: Run) -> tuple[Finding, ...]:
    """All of them; those of the code alone where there is no evidence."""
    from eureka_evaluation.hacking import suspicions
    from eureka_evaluation.hacking_code import smells

    known = goals(run.task.files["task.py"])
    return suspicions(evidence, known) if evidence else smells(candidate.code, known)


def evidence_of(candidate: Candidate, name: str, generation: int, run: Run) -> Evidence | None:
    """What there is to judge a reward by; None if it was not judged, or its policy's episodes were not recorded."""
    from eureka_evaluation.hacking_evidence import METRIC, Evidence, Probes

    judged, bank = run.decided(judged_key(generation, name), Judged), run.decided(bank_key(generation), JudgedBank)
    if judged is None or bank is None or judged.values is None:
        return None
    spread = _spread(run, generation)
    common = _common(run, generation)
    if name not in common.transitions.policies or not common.fits(bank):
        return None
    values = common.values[name]
    count = bank.transitions
    metric = common.distances.get((name, METRIC))
    return Evidence(
        policy=name,
        transitions=common.transitions,
        components=judged.components,
        values=values[:, :count],
        per_step=common.per_step,
        code=candidate.code,
        probes=Probes(values[:, count:], common.scales) if values.shape[1] == count + probes_in(bank) else None,
        rungs=_rungs(candidate),
        distances={} if metric is None else {METRIC: metric},
        spread=spread,
        anchor=run.task.anchors.human.mean if run.task.anchors else None,
    )


class Distances(Record):
    """How far the rewards that were judged in one generation are from the task's metric."""

    metric: Mapping[str, float]
    """STARC distance by candidate's id, and of `human`; empty where no recorded variables tell the metric."""


def _spread(run: Run, generation: int) -> tuple[float, ...]:
    """Distances from the metric of every reward that was judged up to a generation, each as it was judged last.

    They are settled once per generation, so that they are the same whenever, and wherever, a search goes on.
    """
    known: dict[str, float] = {}
    for earlier in range(generation + 1):
        if run.has_decided(bank_key(earlier)):
            known |= run.decide(_distances_key(earlier), Distances, partial(_distances, run, earlier)).metric
    return tuple(known.values())


def _distances_key(generation: int) -> str:
    return f"distances/{generation}/bank"


def _distances(run: Run, generation: int) -> Distances:
    from eureka_evaluation.hacking_evidence import METRIC

    found = _common(run, generation).distances
    return Distances(metric={name: d for (name, other), d in found.items() if other == METRIC and name != METRIC})


def reward_distances(run: Run, generation: int) -> tuple[tuple[str, ...], Floats] | None:
    """Names and STARC distances `(K, K)` of the rewards that were judged together; None if none were.

    `metric`, the task's metric per step, is among them where the recorded variables tell it.
    """
    if run.decided(bank_key(generation), JudgedBank) is None:
        return None
    common = _common(run, generation)
    return common.names, common.matrix


def epic_distances(run: Run, generation: int, names: Sequence[str]) -> Floats:
    """EPIC distances `(K, K)` of some of the rewards that `reward_distances` names."""
    import numpy as np

    from eureka_evaluation.distances import epic_matrix

    common = _common(run, generation)
    return epic_matrix(np.stack([common.rows[name] for name in names]), common.transitions)


def alignments(run: Run, generation: int, names: Sequence[str]) -> tuple[Floats, int]:
    """How well such rewards order the recorded trajectories, `(K,)`, see `eureka_evaluation.tac`; over how many."""
    import numpy as np

    from eureka_evaluation.tac import kendall_tau_b

    common = _common(run, generation)
    known = common.transitions
    returns = known.sums(np.stack([common.rows[name] for name in names]))
    return np.array([kendall_tau_b(row, known.fitness) for row in returns]), len(known.policies)


class _Common:
    """What all rewards of a generation are held against."""

    def __init__(self, run: Run, generation: int) -> None:
        import numpy as np
        from safetensors.numpy import load

        from eureka_agent.lab.judging import SCALES
        from eureka_evaluation.decomposition import TRUSTED, metric_per_step
        from eureka_evaluation.distances import starc_matrix
        from eureka_evaluation.hacking_evidence import METRIC

        bank = run.decided(bank_key(generation), JudgedBank)
        assert bank is not None
        self.transitions: Transitions = transitions_of(run, bank.players)
        self.per_step: PerStep = metric_per_step(self.transitions)
        self.scales = np.repeat(np.array(SCALES), probes_in(bank) // len(SCALES))
        self.values: dict[str, Floats] = {}
        for name in (*dict.fromkeys(self.transitions.policies), HUMAN):
            judged = run.decided(judged_key(generation, name), Judged)
            if judged and judged.values:
                self.values[name] = load(run.blob(judged.values))[VALUES].astype(np.float64)
        rows = {name: values[0, : bank.transitions] for name, values in self.values.items()} if self.fits(bank) else {}
        self.rows: dict[str, Floats] = rows
        if self.per_step.explained >= TRUSTED:
            rows[METRIC] = self.per_step.values
        self.names = tuple(rows)
        self.matrix: Floats = (
            starc_matrix(np.stack(list(rows.values())), self.transitions, Recipe.of(run.task, run.settings).discount)
            if rows
            else np.zeros((0, 0))
        )
        pairs = [(a, b) for a in self.names for b in self.names]
        self.distances = dict(zip(pairs, self.matrix.ravel().tolist(), strict=True))

    def fits(self, bank: JudgedBank) -> bool:
        """Whether the transitions are those that the rewards were asked about, and not those of another version."""
        return len(self.transitions.trajectory) == bank.transitions


@lru_cache(maxsize=1)
def _common(run: Run, generation: int) -> _Common:
    return _Common(run, generation)


def _rungs(candidate: Candidate) -> tuple[tuple[float, float | None], ...]:
    """Fitness and own return over training; nothing of a reward that changes with it, whose returns do not compare."""
    if is_scheduled(candidate.code):
        return ()
    seen = [(rung.fitness, rung.own_return) for rung in candidate.rungs]
    if not candidate.stopped and candidate.training and candidate.score:
        seen.append((candidate.score.mean, candidate.training.peak_return))
    return tuple(seen)


def goals(task_code: bytes) -> tuple[float, ...]:
    """Numbers that the task's own module gives a name to, such as `FAR = 10.0`."""
    found: list[float] = []
    for node in ast.parse(task_code).body:
        value: Any = node.value if isinstance(node, ast.Assign) else None
        number = value.value if isinstance(value, ast.Constant) else None
        if isinstance(number, int | float) and not isinstance(number, bool):
            found.append(float(number))
    return tuple(found)
