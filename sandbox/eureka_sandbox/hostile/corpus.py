"""The cases: what each tries, in which box, and how a box that holds must end it. Read from `corpus/*.md` as text.

A case is a section of Markdown: its name, one sentence, options, and the code. The code either defines `attack()`,
which says whether it got through (see `probe.py`), or is a whole reward.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from eureka_sandbox.hostile.generated import GENERATED
from eureka_sandbox.protocol import Limits, Verdict

RUNS = "runs"
"""Expected of a case that is held without being ended: its box finishes as any other's."""
CONTROL = "control"
TAMPERING = "F"
"""Cases of this category are trained and scored, see `tamper.py`."""
ALONE = frozenset("FHIJK")
"""Categories whose cases each need a box of their own."""

_SECTION = re.compile(r"^## ([a-z0-9_]+)\n(.*?)(?=^## [a-z0-9_]+\n|\Z)", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"^(```+|~~~+)python\n(.*?)^\1\s*$", re.DOTALL | re.MULTILINE)
_OPTION = re.compile(r"^- ([a-z ]+?)(?:: (.*))?$", re.MULTILINE)
_EXPECTED = re.compile(rf"({RUNS}|{'|'.join(Verdict)})(?: at (\d+))?")

LIMITS: Mapping[str, Any] = {"wall_seconds": 300, "silence_seconds": 90, "memory_mb": 700, "stderr_kb": 64}
"""Generous in time, so that a slow machine changes no verdict; tight in memory, so that little has to be filled."""


@dataclass(frozen=True)
class Case:
    """One hostile or broken reward."""

    category: str
    """A letter, `A` to `K`."""
    name: str
    intent: str
    """One sentence."""
    source: bytes
    prelude: str
    """Helpers that the attacks of a category share."""
    expects: tuple[tuple[str, int | None], ...]
    """Ends that count as held: `runs` or a verdict, and the line of `reward.py` that it must name."""
    box: Literal["smoke", "train"]
    limits: Limits
    alone: bool
    """Needs a box of its own, since it may end it."""
    weights: Literal["same", "other"]
    """Of a tampering: whether the trained weights are those of the honest training."""
    in_depth: bool
    """Runs only when the whole corpus does: its box differs little from that of another case."""
    bare: bool
    """Gets through where no wall is, and does no harm there."""
    in_one_process: bool
    """Of a tampering: changes the score where it is taken in the process that trained."""

    @property
    def key(self) -> str:
        """`A.secret_file`."""
        return f"{self.category}.{self.name}"

    @property
    def attacks(self) -> bool:
        """Whether the code is an `attack()`, not a whole reward."""
        return b"def attack(" in self.source

    @property
    def expected(self) -> str:
        """`code error at reward.py:7`, or several of the kind."""
        return " or ".join(word + (f" at reward.py:{line}" if line else "") for word, line in self.expects)


@dataclass(frozen=True)
class Category:
    """Cases of one kind, and the benign reward that must succeed where they fail."""

    letter: str
    title: str
    control: Case
    cases: tuple[Case, ...]


@cache
def load_corpus() -> dict[str, Category]:
    """Every category by its letter."""
    folder = files("eureka_sandbox.hostile") / "corpus"
    texts = sorted((entry.name, entry.read_text("utf-8")) for entry in folder.iterdir() if entry.name.endswith(".md"))
    return {name[0]: _category(name[0], text) for name, text in texts}


def parse_expected(text: str) -> tuple[tuple[str, int | None], ...]:
    """`runs, code error at 7` as pairs.

    Raises:
        ValueError: a part of it is no end of a box.
    """
    parts = [(part, _EXPECTED.fullmatch(part.strip())) for part in text.split(",")]
    for part, match in parts:
        if match is None:
            raise ValueError(f"{part.strip()!r} is no end of a box; there are: {RUNS}, {', '.join(Verdict)}")
    return tuple((match[1], int(match[2]) if match[2] else None) for _, match in parts if match)


def _category(letter: str, text: str) -> Category:
    sections = {match[1]: match[2] for match in _SECTION.finditer(text)}
    prelude = _code(sections.pop("prelude")) if "prelude" in sections else ""
    cases = {name: _case(letter, name, body, prelude) for name, body in sections.items()}
    made = tuple(_generated(letter))
    title = text.partition("\n")[0].removeprefix(f"# {letter}. ")
    return Category(letter, title, cases.pop(CONTROL), (*cases.values(), *made))


def _case(letter: str, name: str, body: str, prelude: str) -> Case:
    head = body[: _code_match(body).start()]
    options = {match[1]: match[2] or "" for match in _OPTION.finditer(head)}
    intent = " ".join(_OPTION.sub("", head).split())
    return Case(
        category=letter,
        name=name,
        intent=intent,
        source=_code(body).encode(),
        prelude=prelude,
        expects=parse_expected(options.get("expects", RUNS)),
        box="train" if options.get("box") == "train" or letter == TAMPERING else "smoke",
        limits=_limits(options.get("limits", "")),
        alone="alone" in options or letter in ALONE,
        weights="other" if options.get("weights") == "other" else "same",
        in_depth="in depth" in options,
        bare=options.get("bare") == "leaks",
        in_one_process="in one process" in options,
    )


def _generated(letter: str) -> Iterator[Case]:
    for name, (intent, expected, in_depth, source) in GENERATED.get(letter, {}).items():
        yield Case(
            category=letter,
            name=name,
            intent=intent,
            source=source,
            prelude="",
            expects=parse_expected(expected),
            box="smoke",
            limits=_limits(""),
            alone=True,
            weights="same",
            in_depth=in_depth,
            bare=False,
            in_one_process=False,
        )


def _limits(text: str) -> Limits:
    changes = (pair.split("=") for pair in text.split())
    return Limits(**{**LIMITS, **{name: float(value) for name, value in changes}})


def _code(body: str) -> str:
    return _code_match(body)[2]


def _code_match(body: str) -> re.Match[str]:
    match = _CODE.search(body)
    if match is None:
        raise ValueError(f"a section without code: {body[:80]!r}")
    return match
