"""Where candidates come from: a proposer answers each brief with reward code.

`--model` names it. `offline` is the search without a language model, `scripted:DIR` plays back answers from files.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from eureka_agent.errors import UsageError
from eureka_agent.population import Brief, Population, Proposal
from eureka_agent.task import Task


class Proposer(Protocol):
    """Writes candidates."""

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        """Answer one brief. The same brief, task and population give the same proposal.

        Called from several threads at once.

        Raises:
            EurekaError: no candidate could be asked for; a candidate that came out bad is a `Proposal` with a failure.
        """
        ...


class Provider(NamedTuple):
    """One way to name a model on the command line."""

    usage: str
    """How it is written, for messages."""
    factory: str
    """Lazy dotted path of a function `(argument, task, prompts_folder) -> Proposer`."""


PROVIDERS = {
    "offline": Provider(
        "offline (offline:uniform without the keyword prior)", "eureka_agent.proposers.offline:from_model_name"
    ),
    "scripted": Provider("scripted:DIR", "eureka_agent.proposers.scripted:from_model_name"),
}
"""By the word before the colon; the factory gets the text after it."""

Factory = Callable[[str, Task, Path | None], Proposer]


def make_proposer(model: str, task: Task, prompts_folder: Path | None = None) -> Proposer:
    """The proposer that `model` names (`offline`, `scripted:DIR`).

    Templates in `prompts_folder` replace the shipped prompts of the same name.

    Raises:
        UsageError: nothing goes by that name.
    """
    word, _, argument = model.partition(":")
    if word not in PROVIDERS:
        available = ", ".join(provider.usage for provider in PROVIDERS.values())
        raise UsageError(f"unknown model {model!r}; this version has: {available}")
    module, _, function = PROVIDERS[word].factory.partition(":")
    factory = cast(Factory, getattr(importlib.import_module(module), function))
    return factory(argument, task, prompts_folder)


class DefaultModel(NamedTuple):
    """What is used when no model is named."""

    name: str
    reason: str
    """One line for the person."""


def default_model() -> DefaultModel:
    """The model of a run that names none."""
    return DefaultModel("offline", "no model named: searching offline, without a language model (--model changes that)")
