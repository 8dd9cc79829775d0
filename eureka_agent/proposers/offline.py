"""Search without a language model: samples rewards from a typed grammar, then mutates and crosses the fittest.

The default where no key is set, and the baseline that a language model has to beat. Everything random comes from the
brief's seed. `sample` is guided by a keyword prior (`words.py`), `mutate` by the parent's component curves.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from pydantic import ValidationError

from eureka_agent.contract.reward_code import normalised_hash, program_hash
from eureka_agent.contract.task import Task
from eureka_agent.errors import UsageError
from eureka_agent.population import Brief, Candidate, Population, Proposal
from eureka_agent.proposers import Sitting
from eureka_agent.proposers.grammar import Genome, slots
from eureka_agent.proposers.operators import Operators
from eureka_agent.proposers.writing import write_reward
from eureka_evaluation.components import ComponentStatistics, component_statistics
from eureka_sandbox.protocol import Failure, Verdict

ATTEMPTS = 100


def from_model_name(
    argument: str, task: Task, prompts_folder: Path | None, sitting: Sitting | None = None
) -> OfflineProposer:
    """`offline`, or `offline:uniform` without the keyword prior."""
    if argument not in ("", "uniform"):
        raise UsageError(f"unknown model 'offline:{argument}'; there is offline and offline:uniform (no keyword prior)")
    if prompts_folder is not None:
        raise UsageError(f"--prompts {prompts_folder}: the offline search reads no prompts; name another --model")
    return OfflineProposer(keyword_prior=not argument)


class OfflineProposer:
    """Evolves genomes of the grammar.

    Args:
        keyword_prior: prefer variables and directions that the task's description speaks of. Without it every goal
            term and direction is equally likely.
    """

    def __init__(self, keyword_prior: bool = True) -> None:
        self.keyword_prior = keyword_prior

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        """Answer `sample`, `mutate` or `cross`, never with code that the population already has.

        Parents without a genome (written by a person or a language model) cannot be taken apart: with none left, the
        answer is a fresh sample; with one left, crossing becomes mutation.
        """
        search = Operators(task, Random(brief.seed), self.keyword_prior)
        parents = [(genome, c) for c in map(population.__getitem__, brief.parents) if (genome := _genome_of(c, task))]
        parents.sort(key=lambda pair: population.order(pair[1]), reverse=True)
        tried = {program_hash(candidate.program, candidate.code) for candidate in population.candidates}
        for _ in range(ATTEMPTS):
            if brief.operator == "cross" and len(parents) > 1:
                genome = search.cross([genome for genome, _ in parents])
            elif brief.operator in ("mutate", "cross") and parents:
                genome = search.mutate(parents[0][0], _statistics(parents[0][1]))
            else:
                genome = search.sample()
            code = write_reward(genome, task)
            if normalised_hash(code) not in tried:
                return Proposal(code=code, genome=genome.model_dump(mode="json"))
        message = f"the grammar found no reward in {ATTEMPTS} attempts that the population does not have"
        return Proposal(failure=Failure(verdict=Verdict.CODE_ERROR, message=message))


def _genome_of(candidate: Candidate, task: Task) -> Genome | None:
    """The candidate's genome if it has one that this version can write for this task."""
    try:
        genome = Genome.model_validate(candidate.genome)
    except ValidationError:
        return None
    known = {slot.key for slot in slots(task)}
    return genome if genome.terms and all(term.key in known for term in genome.terms) else None


def _statistics(candidate: Candidate) -> dict[str, ComponentStatistics]:
    curves = candidate.training.curves if candidate.training else {}
    return {component.name: component for component in component_statistics(curves)}
