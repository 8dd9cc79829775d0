"""Which stored policy a person means: a candidate's, or one of the comparison's arms."""

from __future__ import annotations

from dataclasses import dataclass

from eureka_agent.errors import UsageError
from eureka_agent.population import Candidate
from eureka_agent.run import Run


@dataclass(frozen=True)
class Policy:
    """A policy of a run, with the reward it was trained on."""

    name: str
    code: str
    files: dict[str, bytes]
    """policy.safetensors and policy.json; empty for random actions."""


def find_policy(run: Run, name: str | None) -> Policy:
    """The best's policy (the median of its final trainings, once compared), a candidate's, `human` or `random`.

    Raises:
        UsageError: there is no such candidate, or it has no policy.
    """
    if name == "random":
        return Policy("random", "", {})
    comparison, population = run.comparison(), run.population(partial=True)
    if comparison and (name in (None, "human")):
        arm = comparison.arm("human" if name else "candidate")
        code = run.task.human_reward if name else population[comparison.candidate].code
        if arm.policy and arm.policy_meta:
            return Policy(name or comparison.candidate, code, _files(run, arm.policy, arm.policy_meta))
    if name == "human":
        raise UsageError("the human reward's policy exists once the run has ended; name a candidate or `random`")
    candidate = _candidate(run, name)
    if candidate.training is None:
        raise UsageError(f"{candidate.id} has no policy: {candidate.failure or 'it has not trained yet'}")
    training = candidate.training
    return Policy(candidate.id, candidate.code, _files(run, training.policy, training.policy_meta))


def _candidate(run: Run, name: str | None) -> Candidate:
    population = run.population(partial=True)
    if name is None:
        if population.best is None:
            raise UsageError(f"{run.folder}: no candidate has trained yet")
        return population.best
    try:
        return population[name]
    except KeyError:
        import difflib

        ids = [candidate.id for candidate in population.candidates]
        close = difflib.get_close_matches(name, ids, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        known = f"it has {ids[0]} … {ids[-1]}, human and random" if ids else "it has none yet"
        raise UsageError(f"no candidate {name!r} in {run.folder}; {hint}{known}") from None


def _files(run: Run, policy: str, meta: str) -> dict[str, bytes]:
    return {"policy.safetensors": run.blob(policy), "policy.json": run.blob(meta)}
