"""The language models of one run: their names and weights as a person gives them, and who is asked for a candidate."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import ValidationError

from eureka_agent.errors import UsageError
from eureka_agent.llm.completion import Completion
from eureka_agent.llm.prompting import Request
from eureka_agent.llm.wire import ModelConfig

EXAMPLE = "openai/NAME, anthropic/NAME, groq/NAME"


def names_and_weights(text: str) -> dict[str, float]:
    """The models in `openai/a,anthropic/b=2`, in that order; without a weight it is 1.

    Raises:
        UsageError: a name without a provider, a weight that is no positive number, or the same name twice.
    """
    models: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.strip().rpartition("=") if "=" in part else (part.strip(), "", "1")
        provider, _, model = name.partition("/")
        if not provider or not model:
            raise UsageError(f"--model {part.strip()!r}: expected PROVIDER/MODEL, for instance {EXAMPLE}")
        if name in models:
            raise UsageError(f"--model {name}: named twice; a weight makes it likelier, --model {name}=2")
        try:
            models[name] = ModelConfig(name=name, weight=float(weight)).weight
        except (ValueError, ValidationError) as error:
            raise UsageError(
                f"--model {part.strip()!r}: the weight must be a number above 0, for instance 2"
            ) from error
    return models


class Ensemble:
    """Several models, each chosen as often as its weight says. A run's `asking.Asking` asks them: every call counts.

    Args:
        writers: those that write.
        eyes: the one that looks at pictures, if there is one; it may be a writer, too.
    """

    free = False

    def __init__(self, writers: Sequence[ModelConfig], eyes: ModelConfig | None = None) -> None:
        self.writers = tuple(writers)
        self.eyes = eyes

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """All of them, each once."""
        every = (*self.writers, self.eyes) if self.eyes else self.writers
        return tuple({model.name: model for model in every}.values())

    def chosen(self, seed: int) -> ModelConfig:
        """Who is asked to write: the same seed gives the same model."""
        weights = [model.weight for model in self.writers]
        return random.Random(seed).choices(self.writers, weights)[0]

    def named(self, name: str) -> ModelConfig:
        """One of the models.

        Raises:
            UsageError: it is none of them.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise UsageError(f"model {name}: not among this run's models ({', '.join(m.name for m in self.models)})")

    def complete(self, request: Request) -> Completion:
        """Nobody is asked outside a run: there the money is counted."""
        raise AssertionError(f"{request.brief}: models of providers are asked through a run's ledger")
