"""Parts of the tests of language models: a small search with a sandbox that simulates nothing, and answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from eureka_agent.contract.task import load_task
from eureka_agent.critique.vision import Eyes
from eureka_agent.lab.lab import Lab
from eureka_agent.llm.prompting import fenced
from eureka_agent.loop import evolve
from eureka_agent.population import Candidate
from eureka_agent.proposers import Sitting, make_judge, make_proposer
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison, Trial
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_agent.terminal.watcher import Silent
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Progress

TASK = load_task("hopper_forward")
REWARD = '''import torch


def compute_reward(torso_x_velocity: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """{name}"""
    return torso_x_velocity, {{"forward": torso_x_velocity}}
'''


def code(name: str) -> str:
    """A reward that says whose it is."""
    return REWARD.format(name=name)


def answer(name: str) -> str:
    """A model's whole answer for a candidate."""
    return f"Speed is the score, so I pay speed.\n\n{fenced(code(name))}\n\nThis should do.\n"


class Log(Silent):
    """A watcher that keeps what it hears about calls."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.waits: list[str] = []

    def waiting(self, text: str) -> None:
        self.waits.append(text)

    def stage(self, text: str) -> None:
        self.said.append(text)

    def generation(self, number: int, candidates: Sequence[Candidate]) -> None:
        pass

    def started(self, key: str, stage: str) -> None:
        pass

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        pass

    def finished(self, candidate: Candidate) -> None:
        pass

    def concluded(self, key: str, trial: Trial) -> None:
        pass


def small_run(folder: Path, model: str, **settings: object) -> Run:
    """A new run of two generations of two."""
    small = {"population": 2, "generations": 2, "timesteps": 1000, "final_seeds": 1, "jobs": 2, "model": model}
    return Run.create(folder, TASK, Settings.model_validate({**small, **settings}))


def search(run: Run, log: Log | None = None, sandbox: ScriptedSandbox | None = None) -> Comparison:
    """The whole search with the run's own models."""
    lab = Lab(sandbox or ScriptedSandbox(), run, watcher=log or Log())
    sitting = Sitting(run, lab.watcher, lab.boxes.stopping)
    proposer = make_proposer(run.settings.model, run.task, None, sitting)
    judge = make_judge(run.settings, run.task, sitting, proposer)
    return evolve(run, proposer, Incumbent(), lab, Eyes(judge) if judge else None)


class Person(threading.Thread):
    """Answers every prompt that appears in a mailbox, `answers` by its id or else with `answer`."""

    def __init__(self, folder: Path, answers: dict[str, str] | None = None) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.answers = answers or {}
        self.order: list[str] = []
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.02):
            for prompt in sorted(self.folder.glob("*.prompt.md")):
                name = prompt.name.removesuffix(".prompt.md")
                path = self.folder / f"{name}.answer.md"
                if not path.exists():
                    self.order.append(name)
                    put(path, self.answers.get(name, answer(name)))

    def __enter__(self) -> Person:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()


def put(path: Path, text: str) -> None:
    """A file that appears whole."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.rename(path)
