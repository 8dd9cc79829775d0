"""What a task's sentence says about its state variables: the keyword prior of the offline search.

No language model and no training data: a few dozen words of everyday English. A direction word in the description
(`forward`, `up`, `left`, …) is matched with the sign convention in a variable's meaning ("positive nose down, negative
nose up"); a verb (`run`, `flip`, `reach`, `balance`, `jump`) says which kind of variable the task is about.

It reads words, not sentences: where it knows none, every term is equally likely; a negation ("without flipping over")
or a figure of speech ("back up quickly") misleads it. `offline:uniform` does without it.
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
    "travel": "run|walk|hop|swim|crawl|gallop|trot|jog|race|sprint|stroll|scuttle|slide|glide|sidestep|step|mov|travel|"
    "fast|quick|speed|velocity|far|distance|gait",
    "turning": "flip|backflip|frontflip|somersault|salto|tumbl|rotat|spin|whirl|roll|cartwheel|pirouette",
    "reaching": "reach|touch|target|goal|close|near|approach|grasp",
    "balancing": "balanc|upright|stand|still|steady|stay|keep|kept|hold|hover|centre|center",
    "jumping": "jump|leap|bounc|high|height|tall|airborne",
}
"""Beginnings of words."""
_WORD = re.compile(r"[a-z]+")
_CLAUSE = re.compile(r"[,;:.()]| and ")
_SAME_SIGN = re.compile(r"signed like (\w+)")
_DULL = frozenset({"torso", "to", "velocity", "position", "angle"})


@dataclass(frozen=True)
class Wish:
    """What the description asks for, as far as single words show it."""

    words: frozenset[str] = frozenset()
    themes: frozenset[str] = frozenset()
    """Of `travel`, `turning`, `reaching`, `balancing`, `jumping`."""
    directions: frozenset[str] = field(default=frozenset())
    """Of `forward`, `backward`, `up`, `down`, `left`, `right`."""


def read_wish(description: str) -> Wish:
    """Find the themes and directions in a task's description; who only says "run" means forward, "jump" upward."""
    words = frozenset(_WORD.findall(description.lower()))
    themes = frozenset(theme for theme, stems in _THEMES.items() if any(re.match(stems, word) for word in words))
    directions = frozenset(name for name, forms in _DIRECTIONS.items() if words & set(forms))
    if not directions and "jumping" in themes:
        directions = frozenset({"up"})
    elif not directions and "travel" in themes and "turning" not in themes:
        directions = frozenset({"forward"})
    return Wish(words=words - _DULL, themes=themes, directions=directions)


def sign_convention(variable: VariableSpec, variables: Sequence[VariableSpec]) -> Signs:
    """Which way a variable counts as positive, read from its meaning; follows `signed like OTHER` to the other one."""
    meaning = variable.meaning.replace("add up", "")
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
    """Log-odds of a term in the prior: above 0 where the description speaks of the quantity, below where it clashes.

    The figures are odds set by hand (e^3 is about 20 to 1) while reading samples for the shipped tasks, so that shares
    measured on those tasks flatter it.
    """
    if wish == Wish():
        return 0.0
    asked = asked_direction(signs, wish) != 0
    themes = wish.themes
    named = 0.5 * len(wish.words & set(variable.name.split("_")))
    match kind:
        case "velocity":
            return named + _travel_odds(form, asked, "up" in signs or "down" in signs, themes)
        case "angular_velocity":
            return named + _turning_odds(form, asked, themes)
        case "distance" if "reaching" in themes:
            return named + 3.0
        case "angle" if "turning" in themes:
            return named - (0.0 if form == "cosine" else 3.0)  # a level torso would forbid the turn
        case "angle" | "orientation" if "balancing" in themes:
            return named + 3.0
        case "height":
            return named + (2.5 if "jumping" in themes else 0.5)
        case "position" if asked or (themes & {"travel", "turning"} and "forward" in signs):
            return named - 4.0  # would hold it where it is
        case _:
            return named


def _travel_odds(form: str, asked: bool, vertical: bool, themes: frozenset[str]) -> float:
    if asked and form == "absolute":
        return -3.0  # would charge for what is asked
    if not asked:
        return -0.5 if form == "absolute" else -3.0
    if "turning" in themes or not ("travel" in themes or vertical):
        return -2.0 if form == "idle" else 0.0  # the direction belongs to something else
    return 3.0


def _turning_odds(form: str, asked: bool, themes: frozenset[str]) -> float:
    if "turning" not in themes:
        return 0.0 if form == "square" else -3.0
    if asked and form == "square":
        return -3.0  # would charge for what is asked
    return 4.0 if asked else 2.5
