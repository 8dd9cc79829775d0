"""A proposer that asks a language model: compose, complete, examine, one turn of repair, and a review if wanted."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

from eureka_agent.contract.task import Task
from eureka_agent.llm.completion import LLM, Blind, Completion, NoAnswer
from eureka_agent.llm.extract import REFUSED
from eureka_agent.llm.gates import Examined, Smoke, examine
from eureka_agent.llm.prompting import LOOKS, Prompts, Request
from eureka_agent.llm.review import MOST_ROUNDS, commentary_of, verdict_of, vision_of
from eureka_agent.llm.shorten import fitted
from eureka_agent.llm.transcript import RunTranscript
from eureka_agent.population import Brief, Candidate, Catch, Judgement, Population, Proposal, Score
from eureka_agent.proposers import Sitting
from eureka_agent.runs.calls import Picture
from eureka_agent.runs.summaries import counted_scores
from eureka_agent.search.people import told
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.protocol import SheetSpec


def proposer_of(
    llm: LLM, prompts_folder: Path | None, sitting: Sitting | None, transcript: Transcript | None = None
) -> LLMProposer:
    """A model as proposer: with its run's recipe, transcript and gates, and a critic if one is wanted."""
    if sitting is None:
        return LLMProposer(llm, Prompts(prompts_folder))
    run, settings = sitting.run, sitting.run.settings
    kept = transcript or RunTranscript(run)
    prompts = Prompts(prompts_folder, settings, run.floor, partial(told, run), partial(counted_scores, run))
    return LLMProposer(llm, prompts, kept, sitting.smoke, settings.critic)


class Transcript(Protocol):
    """Where calls are kept; see `transcript.RunTranscript`."""

    def ask(self, llm: LLM, request: Request) -> tuple[Request, Completion]:
        """The answer to a request, asked for once in a run; with it the request as it was sent."""
        ...

    def parsed(self, request: Request) -> None:
        """What could be made of the answer is known."""
        ...


class LLMProposer:
    """Turns a model's answers into candidates.

    Args:
        llm: who is asked.
        prompts: how.
        transcript: where calls are kept; without one they are not.
        smoke: runs code in a box on recorded transitions; without it code is only read.
        critic: whether the model reviews each reward before it is trained (Auto MC-Reward, Li et al. 2024).
    """

    def __init__(
        self,
        llm: LLM,
        prompts: Prompts,
        transcript: Transcript | None = None,
        smoke: Smoke | None = None,
        critic: bool = False,
    ) -> None:
        self._llm = llm
        self._prompts = prompts
        self._transcript = transcript
        self._smoke = smoke
        self._critic = critic

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        """Ask once; if a gate stops the answer, say why and ask once more; then let the critic object."""
        request = fitted(self._prompts.compose(brief, task, population), self._prompts.tokens)
        request, completion, examined = self._answer(request, task)
        catches = [examined.catch] if examined.catch else []
        if examined.catch and completion.finish_reason not in REFUSED:
            failure = examined.proposal.failure
            repair = self._prompts.repair(request, completion.text, examined.reason, failure)
            second = self._answer(fitted(repair, self._prompts.tokens), task)
            _, _, repaired = second
            if repaired.proposal.failure is None and repaired.catch is None:
                catches = [c.model_copy(update={"mended": True}) for c in catches]
            if failure or not repaired.proposal.failure:  # else what could be trained before the repair still can
                request, completion, examined = second
                catches += [repaired.catch] if repaired.catch else []
        if self._critic and examined.proposal.failure is None:
            examined, found = self._reviewed(request, completion, examined, task)
            catches += found
        return examined.proposal.model_copy(update={"catches": tuple(catches)})

    def comment(self, candidate: Candidate, task: Task) -> str:
        """A few sentences on what was measured of a candidate; empty if there is no answer."""
        try:
            request, completion = self._completed(fitted(self._prompts.comment(candidate, task), self._prompts.tokens))
        except NoAnswer:
            return ""
        self._parsed(request)
        return "" if completion.finish_reason in REFUSED else commentary_of(completion.text)

    def look(self, candidate: Candidate, frames: Score, task: Task) -> Judgement:
        """Show frames of a candidate's policy, and ask once more if the answer is of no use."""
        picture = Picture(blob=frames.frames or "", width=SheetSpec().size[0], height=SheetSpec().size[1])
        reason = ""
        for _ in LOOKS:
            asked = self._prompts.look(candidate.id, picture, frames.lengths[0], task, reason)
            try:
                asked, completion = self._completed(asked)
            except NoAnswer as gone:
                return Judgement(why_not=gone.failure.message, blind=isinstance(gone, Blind))
            self._parsed(asked)
            if completion.finish_reason in REFUSED:
                return Judgement(why_not="the model refused to answer")
            try:
                return Judgement(vision=vision_of(completion.text))
            except Violation as wrong:
                reason = str(wrong)
        return Judgement(why_not=f"its answer is of no use, the second time too: {reason}")

    def _reviewed(
        self, request: Request, completion: Completion, examined: Examined, task: Task
    ) -> tuple[Examined, list[Catch]]:
        """Rounds of objection and revision; a revision that a gate stops leaves the code as it was."""
        found: list[Catch] = []
        for number in range(1, MOST_ROUNDS + 1):
            earlier = [catch.reason for catch in found]
            asked = self._prompts.criticise(request, examined.proposal.code, task, number, examined.silent, earlier)
            try:
                asked, opinion = self._completed(asked)
            except NoAnswer:
                break
            objections = verdict_of(opinion.text)
            self._parsed(asked)
            if not objections:
                break
            revision = self._prompts.revise(request, completion.text, objections, number)
            request, completion, revised = self._answer(fitted(revision, self._prompts.tokens), task)
            mended = revised.proposal.failure is None
            found.append(Catch(gate="critic", reason=objections, fatal=False, mended=mended))
            if not mended:
                break
            examined = revised
        return examined, found

    def _answer(self, request: Request, task: Task) -> tuple[Request, Completion, Examined]:
        try:
            request, completion = self._completed(request)
        except NoAnswer as gone:
            return request, Completion(text="", model=""), Examined(Proposal(failure=gone.failure))
        examined = examine(completion, task, self._smoke)
        self._parsed(request)
        return request, completion, examined

    def _completed(self, request: Request) -> tuple[Request, Completion]:
        if self._transcript is None:
            return request, self._llm.complete(request)
        return self._transcript.ask(self._llm, request)

    def _parsed(self, request: Request) -> None:
        if self._transcript is not None:
            self._transcript.parsed(request)
