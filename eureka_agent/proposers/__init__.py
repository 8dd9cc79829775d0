"""Where candidates come from: a proposer answers each brief with reward code.

`--model` names it. `offline` is the search without a language model; `PROVIDER/MODEL` asks a provider, several of them
in turn if the flag is repeated; `mailbox:DIR` asks whoever answers files, `replay:RUN` takes the answers that another
run recorded, `scripted:DIR` those in a folder of files.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from eureka_agent.contract.task import Task
from eureka_agent.errors import UsageError
from eureka_agent.population import Brief, Population, Proposal
from eureka_agent.settings import Settings
from eureka_agent.text import flag_of
from eureka_sandbox.protocol import Failure, SmokeResult

if TYPE_CHECKING:
    from eureka_agent.llm.proposer import LLMProposer
    from eureka_agent.runs.run import Run
    from eureka_agent.terminal.watcher import Watcher


class Proposer(Protocol):
    """Writes candidates."""

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        """Answer one brief. The same brief, task and population give the same proposal.

        Called from several threads at once.

        Raises:
            EurekaError: no candidate could be asked for; a candidate that came out bad is a `Proposal` with a failure.
        """
        ...


@dataclass(frozen=True)
class Sitting:
    """What a proposer that asks a language model has of the process it works in."""

    run: Run
    """Keeps what is asked and answered."""
    watcher: Watcher
    """Hears what is waited for."""
    stopping: Event
    """Set when the work must end; whoever waits returns at once."""
    smoke: Callable[[str], SmokeResult | Failure] | None = None
    """Runs reward code in a box on recorded transitions; without it code is only read."""
    resources: ExitStack = field(default_factory=ExitStack)
    """What is let go when the sitting ends, such as the process that asks providers."""


class Provider(NamedTuple):
    """One way to name a model on the command line."""

    usage: str
    """How it is written, for messages."""
    factory: str
    """Lazy dotted path of a function `(argument, task, prompts_folder, sitting) -> Proposer`."""
    names_folder: bool = False
    """Whether the text after the colon is a path."""
    settings: str = ""
    """Lazy dotted path of a function `(argument) -> settings`: those that apply unless a person names others."""


PROVIDERS = {
    "offline": Provider(
        "offline (offline:uniform without the keyword prior)", "eureka_agent.proposers.offline:from_model_name"
    ),
    "mailbox": Provider("mailbox:DIR", "eureka_agent.llm.mailbox:from_model_name", names_folder=True),
    "replay": Provider(
        "replay:RUN",
        "eureka_agent.llm.replay:from_model_name",
        names_folder=True,
        settings="eureka_agent.llm.replay:recorded_settings",
    ),
    "scripted": Provider("scripted:DIR", "eureka_agent.llm.scripted:from_model_name", names_folder=True),
}
"""By the word before the colon; the factory gets the text after it."""

Factory = Callable[[str, Task, Path | None, Sitting | None], Proposer]


def make_proposer(
    model: str,
    task: Task,
    prompts_folder: Path | str | None = None,
    sitting: Sitting | None = None,
    settings: Settings | None = None,
) -> Proposer:
    """The proposer that `model` names (`offline`, `mailbox:DIR`, `openai/NAME`, …).

    Templates in `prompts_folder` replace the shipped prompts of the same name. Without a `sitting` nothing of what is
    asked and answered is kept, which is enough to see whether the model can be used for a new run with `settings`.

    Raises:
        UsageError: nothing goes by that name, or the settings do not go with it.
    """
    folder = Path(prompts_folder) if prompts_folder else None
    if asks_providers(model):
        from eureka_agent.llm.providers import from_settings

        known = sitting.run.settings if sitting else settings or Settings()
        return from_settings(known.model_copy(update={"model": model}), folder, sitting)
    provider, argument = _provider(model)
    factory = cast(Factory, _function(provider.factory))
    return factory(argument, task, folder, sitting)


def make_judge(
    settings: Settings, task: Task, sitting: Sitting | None = None, proposer: Proposer | None = None
) -> LLMProposer | None:
    """Who looks at frames, as `vision_model` says; None: nobody.

    It is the proposer itself if both are asked in one way: a sitting has one process that holds keys, and one ledger.

    Raises:
        UsageError: nothing that can be shown pictures goes by that name, or the settings do not go with it.
    """
    name = settings.vision_model
    if name is None:
        return None
    judge = proposer
    if asks_providers(name) and not asks_providers(settings.model):
        from eureka_agent.llm.providers import from_settings

        judge = from_settings(settings, Path(settings.prompts) if settings.prompts else None, sitting)
    elif judge is None or not (asks_providers(name) or name == settings.model):
        judge = make_proposer(
            settings.model if asks_providers(name) else name, task, settings.prompts, sitting, settings
        )
    if not hasattr(judge, "look"):
        raise UsageError(f"--vision-model {name}: it cannot be shown pictures; name a model that can (openai/NAME)")
    return cast("LLMProposer", judge)


def asks_providers(model: str | None) -> bool:
    """Whether a name, or names joined by commas, are models of providers, `PROVIDER/MODEL`."""
    return model is not None and model.partition(":")[0] not in PROVIDERS and "/" in model


def calls_cost(settings: Settings) -> bool:
    """Whether the run asks a provider for anything."""
    return asks_providers(settings.model) or asks_providers(settings.vision_model)


def check_settings(settings: Settings) -> None:
    """See before a run is changed whether its models can be asked with these settings.

    Raises:
        UsageError: they cannot.
    """
    if calls_cost(settings):
        from eureka_agent.llm.providers import ensemble_of

        ensemble_of(settings)


def usual_settings(model: str) -> dict[str, Any]:
    """Settings that go with a model unless a person names others: a replay has those of the run that it replays.

    Raises:
        UsageError: nothing goes by that name.
    """
    if asks_providers(model):
        return {}
    provider, argument = _provider(model)
    return cast(dict[str, Any], _function(provider.settings)(argument)) if provider.settings else {}


ASKED_ONLY = (
    *("models_file", "base_url", "effort", "max_cost", "max_cost_per_hour", "max_tokens", "max_calls", "on_unknown"),
)
"""Settings that only calls to a provider heed."""
WORDED_ONLY = ("max_output_tokens", "prompt_tokens", "critic", "analyst")
"""Settings that only a search with prompts heeds."""


def check_flags(model: str, given: Mapping[str, Any], vision: str | None = None) -> None:
    """See that nothing was asked of a model, or of a vision model, that neither would heed.

    Raises:
        UsageError: naming the flag.
    """
    if asks_providers(model):
        return
    word = model.partition(":")[0]
    unheeded: tuple[str, ...] = (*ASKED_ONLY, *WORDED_ONLY) if word == "offline" else ASKED_ONLY
    if asks_providers(vision):
        unheeded = tuple(name for name in unheeded if name not in (*ASKED_ONLY, "max_output_tokens"))
    for name in unheeded:
        if name in given:
            raise UsageError(
                f"{flag_of(name)} is for models of a provider, and --model {word} asks none; leave it out, or name one "
                "(--model openai/NAME)"
            )


def _provider(model: str) -> tuple[Provider, str]:
    word, _, argument = model.partition(":")
    if word not in PROVIDERS:
        own = ", ".join(provider.usage for provider in PROVIDERS.values())
        from eureka_agent.llm.prices import likely_name

        meant = likely_name(model)
        hint = f"did you mean {meant}? " if meant else ""
        raise UsageError(
            f"unknown model {model!r}; {hint}there is PROVIDER/MODEL (openai/NAME, anthropic/NAME, …), {own}"
        )
    return PROVIDERS[word], argument


def _function(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    return cast(Callable[..., Any], getattr(importlib.import_module(module), name))


def check_keys(settings: Settings, task: Task) -> None:
    """See before a run is made whether its providers have what they need in this environment, and its caps have room.

    Raises:
        EnvironmentMissing: a key or a library is not there.
        UsageError: nobody knows the provider, or a cap leaves no room for the first call.
    """
    if calls_cost(settings):
        from eureka_agent.llm.expected import check_room
        from eureka_agent.llm.providers import check_environment

        check_environment(settings)
        check_room(task, settings)


def joined_models(names: Sequence[str]) -> str:
    """The models of one run as one name: `openai/a,anthropic/b=2`.

    Raises:
        UsageError: one of several is no provider's.
    """
    for name in names:
        if len(names) > 1 and not asks_providers(name):
            raise UsageError(f"--model {name}: only models of providers can be mixed (--model openai/A --model groq/B)")
    return ",".join(map(absolute_model, names))


def vision_name(name: str, model: str) -> str:
    """A vision model by its whole name: `mailbox` alone is the mailbox of the proposers, and so on.

    Raises:
        UsageError: there are several, or they ask another mailbox, or none.
    """
    if "," in name or name.endswith("/"):
        raise UsageError(f"--vision-model {name}: expected one PROVIDER/MODEL that can be shown pictures (openai/NAME)")
    if name in PROVIDERS and PROVIDERS[name].names_folder:
        if model.partition(":")[0] != name:
            raise UsageError(f"--vision-model {name}: whose? say {PROVIDERS[name].usage}, or the same word in --model")
        return model
    return absolute_model(name)


def absolute_model(model: str) -> str:
    """The same model by a name that means the same from every working folder."""
    word, _, argument = model.partition(":")
    if argument and word in PROVIDERS and PROVIDERS[word].names_folder:
        return f"{word}:{Path(argument).expanduser().resolve()}"
    return model


class DefaultModel(NamedTuple):
    """What is used when no model is named."""

    name: str
    reason: str
    """One line for the person."""


def default_model() -> DefaultModel:
    """The model of a run that names none."""
    return DefaultModel("offline", "no model named: searching offline, without a language model (--model changes that)")
