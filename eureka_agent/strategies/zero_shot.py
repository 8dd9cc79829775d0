"""K × N independent samples: what the same budget buys without any feedback. Every other strategy must beat it."""

from __future__ import annotations

from eureka_agent.population import Brief, Population
from eureka_agent.settings import Settings
from eureka_agent.strategies.briefs import brief


class ZeroShot:
    """Fresh samples only; their prompts tell of the task alone, never of another candidate."""

    def select(self, population: Population, settings: Settings) -> list[Brief]:
        """K samples."""
        return [brief(slot, "sample", (), population, settings) for slot in range(settings.population)]
