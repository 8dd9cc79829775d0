"""What a task's sentence says about its state variables: the keyword prior of the offline search.

No language model and no training data: a few dozen words of everyday English. A direction word in the description
(`forward`, `up`, `left`, …) is matched with the sign convention in a variable's meaning ("positive nose down, negative
nose up"); a verb (`run`, `flip`, `reach`, `balance`, `jump`) says which kind of variable the task is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eureka_sandbox.bodies import Kind
from eureka_sandbox.protocol import VariableSpec

Signs = Mapping[str, int]
"""Direction word to the sign (+1 or -1) that the variable has when it points that way."""

OPPOSITES = {"forward": "backward", "up": "down", "left": "right"}
OPPOSITES |= {there: here for here, there in OPPOSITES.items()}

_DIRECTIONS = {
    "forward": ("forward", "forwards", "ahead", "front", "frontflip", "frontflips"),
    "backward": ("backward", "backwards", "reverse", "backflip", "backflips"),
    "up": ("up", "upward", "upwards", "upper", "rise", "raise", "jump", "leap"),
    "down": ("down", "downward", "downwards", "falling", "crouch", "duck"),
    "left": ("left", "leftward", "leftwards", "counterclockwise", "anticlockwise"),
    "right": ("rightward", "rightwards", "clockwise"),
}
_THEMES = {
    "travel": "run runs running walk walks walking hop hops hopping swim swims swimming crawl gallop trot sprint move moves "
    "moving travel go fast faster quickly speed velocity far distance gait locomotion",
    "turning": "flip flips flipping backflip backflips frontflip frontflips somersault somersaults rotate rotates rotating "
    "rotation rotations spin spins spinning roll rolls rolling cartwheel cartwheels",
    "reaching": "reach reaches reaching touch touches target goal close near nearest towards approach fetch point",
    "balancing": "balance balances balancing upright stand stands standing still steady stay stays keep hold centre center",
    "jumping": "jump jumps jumping leap leaps high higher height tall airborne fly",
}
_WORD = re.compile(r"[a-z]+")
_CLAUSE = re.compile(r"[,;:.()]| and ")
_SAME_SIGN = re.compile(r"signed like (\w+)")
_DULL = frozenset("torso of the to in its on and or with from by each is a".split())


@dataclass(frozen=True)
class Wish:
    """What the description asks for, as far as single words show it."""

    words: frozenset[str] = frozenset()
    themes: frozenset[str] = frozenset()
    """Of `travel`, `turning`, `reaching`, `balancing`, `jumping`."""
    directions: frozenset[str] = field(default=frozenset())
    """Of `forward`, `backward`, `up`, `down`, `left`, `right`."""


def read_wish(description: str) -> Wish:
    """Find the themes and directions in a task's description."""
    words = frozenset(_WORD.findall(description.lower()))
    return Wish(
        words=words - _DULL,
        themes=frozenset(theme for theme, verbs in _THEMES.items() if words & set(verbs.split())),
        directions=frozenset(name for name, forms in _DIRECTIONS.items() if words & set(forms)),
    )


def sign_convention(variable: VariableSpec, variables: Sequence[VariableSpec]) -> Signs:
    """Which way a variable counts as positive, read from its meaning; follows `signed like OTHER` to the other one."""
    meaning = variable.meaning
    if reference := _SAME_SIGN.search(meaning):
        meaning += " " + next((v.meaning for v in variables if v.name == reference.group(1)), "")
    signs: dict[str, int] = {}
    for clause in _CLAUSE.split(meaning.lower()):
        words = set(_WORD.findall(clause))
        for direction, forms in _DIRECTIONS.items():
            if words & set(forms):
                signs.setdefault(direction, -1 if "negative" in words else 1)
    return signs


def asked_direction(signs: Signs, wish: Wish) -> int:
    """+1 or -1 if the description asks for one way along a variable, 0 if it does not say or contradicts itself."""
    asked = {signs[d] for d in wish.directions if d in signs}
    asked |= {-signs[OPPOSITES[d]] for d in wish.directions if d not in signs and OPPOSITES[d] in signs}
    return asked.pop() if len(asked) == 1 else 0


def relevance(variable: VariableSpec, kind: Kind, form: str, signs: Signs, wish: Wish) -> float:
    """Log-weight of a term in the prior: above 0 where the description speaks of such a quantity, below where it clashes.

    The figures are hand-set odds (e^3 is about 20 to 1), not fitted to any task.
    """
    asked = asked_direction(signs, wish) != 0
    turning = "turning" in wish.themes
    named = 0.5 * len(wish.words & set(variable.name.split("_")))
    match kind:
        case "velocity":
            vertical = "up" in signs or "down" in signs
            fits = asked and ("travel" in wish.themes or vertical)
            return named + (0.0 if turning else 3.0 if fits else 1.0 if "travel" in wish.themes and not vertical else 0.0)
        case "angular_velocity":
            return named + (4.0 if turning and asked else 2.5 if turning else -1.0)
        case "distance":
            return named + (3.0 if "reaching" in wish.themes else 0.0)
        case "angle":
            clash = turning and form not in ("cosine", "linear")
            return named + (-3.0 if clash else 3.0 if "balancing" in wish.themes and not turning else 0.0)
        case "height":
            return named + (2.5 if "jumping" in wish.themes else 0.5)
        case "position":
            return named + (-4.0 if asked or wish.themes & {"travel", "turning"} and "forward" in signs else 0.0)
        case _:
            return named
