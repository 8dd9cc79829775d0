"""Which trainings go on and which are stopped: successive halving and hyperband's brackets of it, as pure functions.

Candidates of a bracket train to a rung, are ranked by the task's own score on fresh episodes, and the better half goes
on to the next (Jamieson and Talwalkar 2016; Li et al. 2018). Who goes on is what synchronous halving says and depends
on the scores alone, never on who finished first; but it is acted on as soon as it is certain, so that a straggler
idles no core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from eureka_agent.settings import Recipe, Settings
from eureka_sandbox.hyperparameters import PPO_ROLLOUT, steps_at_once, steps_per_update

ETA = 2
"""One in so many goes on from each rung."""
RUNGS = (1 / 3, 2 / 3)
"""Where trainings are looked at, as shares of the whole; measured in docs/log.md."""
FEWEST_UPDATES = 10
"""A rung with fewer updates of the policy than this says too little, and starting boxes costs more than it saves. SAC
and TD3, which update at every step, need as many environment steps as PPO with its usual rollouts."""
FEWEST_MEMBERS = 3
"""With fewer candidates nothing is stopped."""
MUCH_LONGER = 0.05
"""Share by which whole rollouts may lengthen a training before a person is told."""
RUNG_EPISODES = 10
"""Fresh episodes of a score between rungs."""

Seen = Mapping[str, Sequence[float | None]]
"""By candidate, its fitness at each rung that it has finished; None: it failed there."""


class Fate(StrEnum):
    """What becomes of a candidate, as far as it is certain."""

    GOES_ON = "goes on"
    """To the rung after those that it has been seen at."""
    WAITS = "waits"
    """For the scores of others."""
    STOPPED = "stopped"
    FAILED = "failed"
    FINISHED = "finished"


@dataclass(frozen=True)
class Bracket:
    """Candidates that are compared with one another."""

    members: tuple[str, ...]
    """In the order in which equals are preferred."""
    rungs: tuple[int, ...]
    """Environment steps at which each is looked at; the last is the whole training."""

    @property
    def keep(self) -> tuple[int, ...]:
        """How many go on from each rung but the last, at most."""
        sizes = [len(self.members)]
        for _ in self.rungs[1:]:
            sizes.append(math.ceil(sizes[-1] / ETA))
        return tuple(sizes[1:])

    @property
    def steps(self) -> int:
        """Environment steps that all of them train, if none fails."""
        reached = (*self.keep, 0)
        sizes = (len(self.members), *self.keep)
        return sum((size - more) * rung for size, more, rung in zip(sizes, reached, self.rungs, strict=True))


def brackets(settings: Settings, recipe: Recipe, members: Sequence[str]) -> tuple[Bracket, ...]:
    """How a generation races; one bracket without rungs where it does not."""
    rungs = _rungs(recipe) if settings.racing != "none" and len(members) >= FEWEST_MEMBERS else ()
    whole = (*rungs, recipe.timesteps)
    if settings.racing != "hyperband" or not rungs:
        return (Bracket(tuple(members), whole),)
    return tuple(Bracket(names, whole[i:]) for i, names in enumerate(dealt(members, len(whole))) if names)


def racing_note(settings: Settings, recipe: Recipe) -> str:
    """Why there is no racing although it is on, for a person; empty where there is, or was not asked for."""
    if settings.racing == "none":
        return ""
    few = settings.population + settings.tune < FEWEST_MEMBERS
    why = "so few candidates do not race" if few else "trainings are too short for it"
    return "" if _rungs(recipe) and not few else f"no racing: {why}"


def rounding_note(settings: Settings, recipe: Recipe) -> str:
    """What a training takes, for a person, where whole rollouts make it much longer than was asked for; else empty."""
    taken = most_steps(settings, recipe, 1)
    if taken <= (1 + MUCH_LONGER) * recipe.timesteps:
        return ""
    at_once = steps_at_once(recipe.algorithm, recipe.hyperparameters)
    rollouts = f"{recipe.algorithm} trains in rollouts of {at_once:,}"
    return f"a training takes {taken:,} environment steps, not {recipe.timesteps:,}: {rollouts}"


def fates(bracket: Bracket, seen: Seen) -> dict[str, Fate]:
    """What becomes of every member, as far as the scores so far settle it.

    More scores only ever turn `WAITS` into something else.
    """
    found: dict[str, Fate] = {}
    here, most = list(bracket.members), len(bracket.members)
    for rung, keep in enumerate((*bracket.keep, 0)):
        known = {name: seen[name][rung] for name in here if len(seen.get(name, ())) > rung}
        scored = sorted((name for name in known if known[name] is not None), key=lambda name: -(known[name] or 0.0))
        places, failed = {name: place for place, name in enumerate(scored)}, len(known) - len(scored)
        last = rung == len(bracket.keep)
        for name in here:
            if name not in known:
                found[name] = Fate.GOES_ON
            elif known[name] is None:
                found[name] = Fate.FAILED
            elif last:
                found[name] = Fate.FINISHED
            else:
                better = places[name]
                worse = len(scored) - better - 1 + failed
                sure = most - 1 - worse < keep  # so many at most may still be better
                found[name] = Fate.GOES_ON if sure else Fate.STOPPED if better >= keep else Fate.WAITS
        here = [name for name in here if name in known and found[name] is Fate.GOES_ON]
        most = min(keep, most - failed)
    return found


def saved(bracket: Bracket, seen: Seen) -> tuple[int, int]:
    """Environment steps that stopping saved, of how many all who did not fail would have trained."""
    whole = bracket.rungs[-1]
    reached = [bracket.rungs[len(at) - 1] for at in seen.values() if at and at[-1] is not None]
    return sum(whole - steps for steps in reached), whole * len(reached)


def most_steps(settings: Settings, recipe: Recipe, population: int) -> int:
    """Environment steps of one generation's trainings, if none fails: whole rollouts, as boxes count them."""
    at_once = steps_at_once(recipe.algorithm, recipe.hyperparameters)
    races = brackets(settings, recipe, [str(i) for i in range(population)])
    return sum(replace(b, rungs=tuple(-(-rung // at_once) * at_once for rung in b.rungs)).steps for b in races)


def most_finishers(settings: Settings, recipe: Recipe, population: int) -> int:
    """How many of one generation train to the end at the very most."""
    races = brackets(settings, recipe, [str(i) for i in range(population)])
    return sum(bracket.keep[-1] if bracket.keep else len(bracket.members) for bracket in races)


def _rungs(recipe: Recipe) -> tuple[int, ...]:
    """Those that are long enough to say something."""
    update = steps_per_update(recipe.algorithm, recipe.hyperparameters)
    if recipe.algorithm != "ppo":
        update = max(update, PPO_ROLLOUT)
    return tuple(int(r * recipe.timesteps) for r in RUNGS if r * recipe.timesteps >= FEWEST_UPDATES * update)


def dealt(members: Sequence[str], brackets_: int) -> list[tuple[str, ...]]:
    """Hyperband's shares, Alg. 1: bracket s of s_max gets (s_max + 1) / (s + 1) · η^s; dealt in turn, so all mix."""
    longest = brackets_ - 1
    shares = [brackets_ / (s + 1) * ETA**s for s in range(longest, -1, -1)]
    hands: list[list[str]] = [[] for _ in shares]
    for name in members:
        neediest = min(range(len(shares)), key=lambda i: ((len(hands[i]) + 1) / shares[i], i))
        hands[neediest].append(name)
    return [tuple(hand) for hand in hands]
