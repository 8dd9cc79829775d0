"""What a critic's answer comes to, objections or none; and what an analyst's, a paragraph."""

from __future__ import annotations

import re

from eureka_agent.text import visible
from eureka_sandbox.backends.untrusted import one_line

MOST_ROUNDS = 3
MOST_OBJECTIONS = 3
OBJECTION_LENGTH = 400
COMMENTARY_LENGTH = 1200
"""Characters; 120 words are asked for."""
_BLOCK = re.compile(r"^[ \t>]*(`{3,}|~{3,}).*?(?:^[ \t>]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_VERDICT = re.compile(r"^\W*verdict\W+(keep|revise)\b", re.IGNORECASE | re.MULTILINE)
_ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+(.*\S)", re.MULTILINE)


def verdict_of(text: str) -> str:
    """The objections as a numbered list, or nothing if the code may stay as it is.

    The last verdict in the text counts; an answer without one, or without any objection, asks for nothing.
    """
    verdicts = list(_VERDICT.finditer(text))
    if not verdicts or verdicts[-1][1].lower() == "keep":
        return ""
    items = [one_line(item, OBJECTION_LENGTH) for item in _ITEM.findall(text)][:MOST_OBJECTIONS]
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def ends_in_verdict(text: str) -> bool:
    """Whether the last line is a verdict, as the critic is asked to end."""
    lines = text.rstrip().splitlines()
    return bool(lines) and _VERDICT.match(lines[-1]) is not None


def commentary_of(text: str) -> str:
    """An analyst's words as one paragraph, without code and headings; what hides is written out."""
    lines = [line for line in _BLOCK.sub("\n", text).splitlines() if not line.lstrip().startswith(("#", "<!--"))]
    return one_line(visible(" ".join(lines)), COMMENTARY_LENGTH)
