"""One sitting of a search: whoever proposes, decides and measures, put together from the run's own settings."""

from __future__ import annotations

from eureka_agent.critique.vision import Eyes
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.proposers import Sitting, make_judge, make_proposer
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison
from eureka_agent.search.people import Ask
from eureka_agent.strategies import strategy_of
from eureka_agent.terminal.watcher import Watcher
from eureka_sandbox.protocol import Sandbox


def search(run: Run, sandbox: Sandbox, watcher: Watcher, ask: Ask | None = None) -> Comparison:
    """Search to the run's end, or from where it was; a finished run starts no box.

    `ask` asks a person at the terminal after each generation.

    Raises:
        BudgetExhausted: its time or money is used up; what had finished is saved.
        EurekaError: nothing trained, or the task or this machine does not allow a search.
    """
    lab = Lab(sandbox, run, watcher=watcher)
    lab.ask = ask
    if not run.has_decided(f"comparison/{run.generations}"):
        lab.begin()
    sitting = Sitting(run, watcher, lab.boxes.stopping, lab.smoke)
    with sitting.resources:
        proposer = make_proposer(run.settings.model, run.task, run.settings.prompts, sitting)
        judge = make_judge(run.settings, run.task, sitting, proposer)
        return evolve(run, proposer, strategy_of(run.settings.strategy), lab, Eyes(judge) if judge else None)
