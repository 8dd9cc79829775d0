"""What answers without code come to: a critic's objections, an analyst's paragraph, a judge's number and words."""

from __future__ import annotations

import re
from itertools import islice

from eureka_agent.llm.bounded import LONGEST_READ, too_long
from eureka_agent.population import Vision
from eureka_agent.text import visible
from eureka_sandbox.backends.untrusted import Violation, one_line, parse_model

MOST_ROUNDS = 3
MOST_OBJECTIONS = 3
OBJECTION_LENGTH = 400
COMMENTARY_LENGTH = 1200
"""Characters; 120 words are asked for."""
SEEN_LENGTH = 400
"""Characters; two sentences are asked for."""
_FENCED = re.compile(r"^[ \t]*```(?:json)?[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^[ \t>]*(`{3,}|~{3,}).*?(?:^[ \t>]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_VERDICT = re.compile(r"^[^\w\n]*+verdict\W++(keep|revise)\b", re.IGNORECASE | re.MULTILINE)
_ITEM = re.compile(r"^[^\S\n]*+(?:[-*•]|\d{1,2}[.)])\s++(.*\S)", re.MULTILINE)


def verdict_of(text: str) -> str:
    """The objections as a numbered list, or nothing if the code may stay as it is.

    The last verdict in the text counts; an answer without one, or without any objection, asks for nothing.
    """
    verdicts = [] if too_long(text) else list(_VERDICT.finditer(text))
    if not verdicts or verdicts[-1][1].lower() == "keep":
        return ""
    items = [one_line(found[1], OBJECTION_LENGTH) for found in islice(_ITEM.finditer(text), MOST_OBJECTIONS)]
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def ends_in_verdict(text: str) -> bool:
    """Whether the last line is a verdict, as the critic is asked to end."""
    lines = text.rstrip().splitlines()
    return bool(lines) and _VERDICT.match(lines[-1]) is not None


def commentary_of(text: str) -> str:
    """An analyst's words as one paragraph, without code and headings; what hides is written out."""
    text = text[:LONGEST_READ]
    lines = [line for line in _BLOCK.sub("\n", text).splitlines() if not line.lstrip().startswith(("#", "<!--"))]
    return one_line(visible(" ".join(lines)[: 16 * COMMENTARY_LENGTH]), COMMENTARY_LENGTH)


def vision_of(text: str) -> Vision:
    """A vision judge's answer: strict JSON, alone or in the only fenced block of the text.

    Raises:
        Violation: it is anything else; says what.
    """
    if reason := too_long(text):
        raise Violation("the answer", reason.removeprefix("the answer "))
    blocks = _FENCED.findall(text)
    found = blocks[0] if len(blocks) == 1 else text
    vision = parse_model(found.strip().encode("utf-8", "replace"), "the answer", Vision)
    seen = one_line(visible(vision.seen), SEEN_LENGTH)
    if not seen:
        raise Violation("the answer", "seen: is empty")
    return vision.model_copy(update={"seen": seen})
