"""From the names of models to a proposer: addresses, prices and limits settled, and a broker to ask through."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from eureka_agent.errors import EnvironmentMissing, UsageError
from eureka_agent.llm.asking import Asking
from eureka_agent.llm.attempt import provider_state
from eureka_agent.llm.broker import Broker
from eureka_agent.llm.ensemble import Ensemble, names_and_weights
from eureka_agent.llm.ledger import cost_cap, price_again, unpriced_text
from eureka_agent.llm.models_file import Entry, load_models
from eureka_agent.llm.prices import known_provider, price_of
from eureka_agent.llm.prompting import Prompts
from eureka_agent.llm.proposer import LLMProposer, proposer_of
from eureka_agent.llm.shorten import shortened
from eureka_agent.llm.stops import worst
from eureka_agent.llm.wire import ModelConfig
from eureka_agent.proposers import Sitting, asks_providers
from eureka_agent.settings import Settings
from eureka_agent.text import dollars

SPOOL = "spool"
"""Folder of a run with answers that the journal does not have yet."""


def ensemble_of(settings: Settings) -> Ensemble:
    """The models of a run as they are asked, its vision model too: what its models file says, then its own settings.

    Raises:
        UsageError: a name, the models file or the address does not hold together, or a cost cap cannot be kept.
    """
    entries = load_models(Path(settings.models_file) if settings.models_file else None)
    weights = names_and_weights(settings.model) if asks_providers(settings.model) else {}
    writers = [_config(name, weight, entries, settings) for name, weight in weights.items()]
    name = settings.vision_model or ""
    ensemble = Ensemble(writers, _config(name, 1.0, entries, settings) if asks_providers(name) else None)
    if settings.base_url and not any(model.provider == "openai" for model in ensemble.models):
        raise UsageError(f"--base-url {settings.base_url}: it is the address of openai/ models, and there is none")
    _check_cost_cap(settings, ensemble.models)
    return ensemble


def _config(name: str, weight: float, entries: Mapping[str, Entry], settings: Settings) -> ModelConfig:
    said = entries[name].model_dump(exclude_none=True) if name in entries else {}
    if settings.base_url and name.startswith("openai/"):
        said["base_url"] = settings.base_url
    if settings.effort:
        said["effort"] = settings.effort
    model = ModelConfig.model_validate({"name": name, "weight": weight, **said})
    if "@" in urlsplit(model.base_url or "").netloc:
        raise UsageError(
            f"the address of {name} holds a user or password, which the run would keep for all to read; leave it "
            "out and set the key in the environment"
        )
    return model


def _check_cost_cap(settings: Settings, models: Sequence[ModelConfig]) -> None:
    caps = (("--max-cost", settings.max_cost), ("--max-cost-per-hour", settings.max_cost_per_hour))
    for model in models:
        for flag, cap in caps:
            if cap is None or price_of(model) is not None:
                continue
            example = f"models: {{{model.name}: {{price: {{input: …, output: …}}}}}}"
            raise UsageError(
                f"{flag} {dollars(cap)}: the price of {model.name} is not known, so the cap cannot "
                f"be kept. Name it in a models file (--models-file FILE with `{example}`, US dollars per million "
                "tokens), or cap tokens instead (--max-tokens N)"
            )


def check_environment(settings: Settings) -> None:
    """See whether every model's provider has its key and its library; nobody is asked.

    Raises:
        EnvironmentMissing: one of them is not there.
        UsageError: see `ensemble_of`.
    """
    ensemble = ensemble_of(settings)
    for model in ensemble.models:
        flag = "--model" if model in ensemble.writers else "--vision-model"
        state, words = provider_state(model.provider, os.environ, model.base_url)
        if state in ("no key", "no library"):
            raise EnvironmentMissing(f"{flag} {model.name}: {words}; `eureka doctor` shows every provider")
        if state == "unknown" and not known_provider(model.provider):
            _check_provider(model, flag)


def _check_provider(model: ModelConfig, flag: str) -> None:
    """Ask litellm itself, whose import takes seconds."""
    from eureka_agent.llm.litellm_sdk import providers

    known = providers()
    if model.provider not in known:
        close = difflib.get_close_matches(model.provider, known, n=1)
        meant = f"did you mean {close[0]}/{model.name.partition('/')[2]}? " if close else ""
        raise UsageError(
            f"{flag} {model.name}: nobody knows a provider {model.provider!r}; {meant}a server of one's own that "
            "speaks OpenAI's protocol is openai/NAME with --base-url URL"
        )


def from_settings(settings: Settings, prompts_folder: Path | None, sitting: Sitting | None) -> LLMProposer:
    """A proposer that asks the models that `settings` names; without a `sitting` it only shows that it can be made.

    With one, answers that an earlier sitting was waiting for are taken in first.

    Raises:
        UsageError: see `ensemble_of`.
        BudgetExhausted: calls of earlier sittings cannot be counted against the cost cap.
    """
    ensemble = ensemble_of(settings)
    if sitting is None:
        return LLMProposer(ensemble, Prompts(prompts_folder, settings))
    broker = sitting.resources.enter_context(Broker(sitting.run.folder / SPOOL, sitting.stopping))
    broker.start()
    asking = Asking(sitting, ensemble, broker, shortened)
    prices = {model.name: price_of(model) for model in ensemble.models}
    price_again(sitting.run, prices)
    for call in asking.recover():
        sitting.watcher.stage(
            f"call {call.key} to {call.asked} was sent in an earlier sitting and its answer is lost; {worst(call)}, is "
            f"booked (--on-unknown {settings.on_unknown})"
        )
    unpriced = sitting.run.booked().unpriced
    if unpriced and (cap := cost_cap(settings)):
        raise UsageError(unpriced_text(unpriced, cap))
    for name, price in prices.items():
        if price is None:
            sitting.watcher.stage(f"the price of {name} is not known: its calls are counted in tokens, not in dollars")
    return proposer_of(asking, prompts_folder, sitting, asking)
