"""What a search will cost in calls, tokens and dollars, before it has made any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eureka_agent.contract.task import Task
from eureka_agent.critique.commenting import MOST
from eureka_agent.errors import UsageError
from eureka_agent.llm.completion import Usage
from eureka_agent.llm.prices import cost_of, longest_answer, most_input_tokens, price_of, worst_cost
from eureka_agent.llm.prompting import Prompts
from eureka_agent.llm.providers import ensemble_of
from eureka_agent.llm.shorten import estimated_tokens
from eureka_agent.population import Brief, Population
from eureka_agent.proposers import asks_providers
from eureka_agent.runs.calls import Message, Picture
from eureka_agent.settings import Settings
from eureka_agent.text import dollars
from eureka_sandbox.protocol import SheetSpec

REPAIRED = 0.25
"""Share of candidates that take a second turn, about."""
REVIEWED = 2.0
"""Calls per candidate that a critic adds, about: an opinion, and half the time a revision and another."""
LATER = 1.6
"""How much longer a prompt is once it shows parents and what came of them."""
PIXELS_PER_TOKEN = 256
"""Of a picture, about: most models make a token of a square of 14 to 32 pixels."""
ANSWER_TOKENS = 4_000
"""A usual answer of a model that thinks first; the setting's limit where that is lower."""


@dataclass(frozen=True)
class Expected:
    """Calls to providers that are left to make."""

    calls: int = 0
    tokens: int = 0
    dollars: float | None = 0.0
    """None if the price of some model is not known."""


def expected(task: Task, settings: Settings, generations_done: int = 0) -> Expected:
    """An estimate of what is left.

    Raises:
        UsageError: the models or prompts cannot be used.
    """
    generations = max(settings.generations - generations_done, 0)
    written, seen = _written(task, settings, generations), _seen(task, settings, generations)
    cost = None if written.dollars is None or seen.dollars is None else written.dollars + seen.dollars
    return Expected(written.calls + seen.calls, written.tokens + seen.tokens, cost)


def _written(task: Task, settings: Settings, generations: int) -> Expected:
    """Calls for rewards and words about them."""
    if not asks_providers(settings.model):
        return Expected()
    candidates = generations * settings.population
    comments = generations * min(MOST, settings.population) if settings.analyst else 0
    calls = round(candidates * (1 + REPAIRED + (REVIEWED if settings.critic else 0.0))) + comments
    usage = _guessed(task, settings)
    prices = [(model.weight, price_of(model)) for model in ensemble_of(settings).writers]
    weights = sum(weight for weight, _ in prices)
    each = [None if price is None else weight / weights * cost_of(price, usage) for weight, price in prices]
    cost = None if None in each else calls * sum(share for share in each if share is not None)
    return Expected(calls, calls * (usage.input_tokens + usage.output_tokens), cost)


def _seen(task: Task, settings: Settings, generations: int) -> Expected:
    """Calls for looks at frames."""
    eyes = ensemble_of(settings).eyes if asks_providers(settings.vision_model) else None
    if eyes is None:
        return Expected()
    shown = settings.population if task.spec.by_vision else min(MOST, settings.population)
    picture = _picture()
    words = estimated_tokens(_look(task, settings)) + round(picture.width * picture.height / PIXELS_PER_TOKEN)
    usage = Usage(input_tokens=words, output_tokens=min(ANSWER_TOKENS, settings.max_output_tokens))
    calls, price = generations * shown, price_of(eyes)
    cost = None if price is None else calls * cost_of(price, usage)
    return Expected(calls, calls * (usage.input_tokens + usage.output_tokens), cost)


def check_room(task: Task, settings: Settings) -> None:
    """See before a run is made whether its caps have room for the first call, whatever that comes to.

    Raises:
        UsageError: not even for the shortest prompt, whose answer may be as long as the settings allow.
    """
    most, ensemble = settings.max_output_tokens, ensemble_of(settings)
    prompts = [(model, _first_prompt(task, settings)) for model in ensemble.writers]
    prompts += [(ensemble.eyes, _look(task, settings))] if ensemble.eyes else []
    for model, messages in prompts:
        answer, prompt = min(most, longest_answer(model) or most), most_input_tokens(messages)
        if settings.max_tokens is not None and prompt + answer > settings.max_tokens:
            raise UsageError(
                f"--max-tokens {settings.max_tokens}: one call of {model.name} can come to {prompt + answer} tokens "
                f"({prompt} of the prompt, {answer} of the answer); allow more, or shorter answers with "
                "--max-output-tokens"
            )
        price = price_of(model)
        worst = worst_cost(price, prompt, answer) if price else 0.0
        for flag, cap in (("--max-cost", settings.max_cost), ("--max-cost-per-hour", settings.max_cost_per_hour)):
            if cap is not None and worst > cap:
                raise UsageError(
                    f"{flag} {cap:g}: one call of {model.name} can come to {dollars(worst)}; allow more, or shorter "
                    "answers with --max-output-tokens"
                )


def _guessed(task: Task, settings: Settings) -> Usage:
    words = estimated_tokens(_first_prompt(task, settings))
    most = min(settings.prompt_tokens, round(LATER * words))
    return Usage(input_tokens=most, output_tokens=min(ANSWER_TOKENS, settings.max_output_tokens))


def _first_prompt(task: Task, settings: Settings) -> tuple[Message, ...]:
    """Without what random play showed, which a run finds out."""
    prompts = _prompts(settings)
    brief = Brief(id="g0c0", generation=0, slot=0, operator="sample", seed=0)
    return prompts.compose(brief, task, Population()).messages


def _look(task: Task, settings: Settings) -> tuple[Message, ...]:
    return _prompts(settings).look("g0c0", _picture(), task.spec.environment.episode_steps, task).messages


def _picture() -> Picture:
    width, height = SheetSpec().size
    return Picture(blob="", width=width, height=height)


def _prompts(settings: Settings) -> Prompts:
    return Prompts(Path(settings.prompts) if settings.prompts else None, settings)
