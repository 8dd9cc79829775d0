"""Makes a prompt fit: what matters least is left out first, always in the same order, and code is never cut.

Works on the finished text by its headings and fences, so that a user's own templates are shortened as well as theirs
have the same headings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence

from eureka_agent.llm.prompting import Request
from eureka_agent.runs.calls import Message

BYTES_PER_TOKEN = 3.0
"""Fewer than any current tokeniser needs for English and Python, so that the estimate is an upper one."""
HISTORY = "# Other candidates so far"
TURNS = "# The last turns"
SCORE_CODE = "The score as code."
_FENCE = re.compile(r"^(`{3,}|~{3,})")


def estimated_tokens(messages: Sequence[Message]) -> int:
    """An upper estimate of what a conversation costs to send."""
    size = sum(len(message.content.encode("utf-8", "surrogatepass")) for message in messages)
    return math.ceil(size / BYTES_PER_TOKEN)


def fitted(request: Request, tokens: int) -> Request:
    """The request with as much left out as `tokens` asks for; the shortest there is if even that is longer."""
    level = 0
    while estimated_tokens(request.messages) > tokens and level < len(STEPS):
        level += 1
        request = shortened(request, level) or request
    return request


def shortened(request: Request, level: int) -> Request | None:
    """The request with the first `level` steps of leaving out taken; None if nothing is left to leave out there."""
    if level > len(STEPS):
        return None
    messages = request.messages
    for step in STEPS[:level]:
        messages = tuple(
            m if m.role == "assistant" else m.model_copy(update={"content": step(m.content)}) for m in messages
        )
    return request.model_copy(update={"messages": messages})


def without_history(text: str) -> str:
    """Without the table of other candidates."""
    return _without_section(text, HISTORY)


def without_turns(text: str) -> str:
    """Without the last turns of the lineage."""
    return _without_section(text, TURNS)


def without_curves(text: str) -> str:
    """Without the numbers of the reflections; their sentences and findings stay."""
    return "\n".join(
        line for line, code in _lines(text) if code or not line.startswith("  ") or line.startswith("  - ")
    )


def without_score_code(text: str) -> str:
    """Without the task's own code of the score, which the prompt also says in words."""
    lines, kept, armed = list(_lines(text)), [], False
    for line, code in lines:
        armed = armed or (not code and line.startswith(SCORE_CODE))
        if armed and code:
            continue
        if armed and not code and line.startswith(("# ", "Training:")):
            armed = False
        kept.append(line)
    return "\n".join(kept)


STEPS: tuple[Callable[[str], str], ...] = (without_history, without_curves, without_turns, without_score_code)
"""In the order in which they are taken."""


def _without_section(text: str, heading: str) -> str:
    kept, skipping = [], False
    for line, code in _lines(text):
        if not code and line.startswith("# "):
            skipping = line.startswith(heading)
        if not skipping:
            kept.append(line)
    return "\n".join(kept)


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it belongs to a fenced block (fences included)."""
    fence = ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if fence:
            closes = found is not None and found[1].startswith(fence) and line.strip() == found[1]
            yield line, True
            fence = "" if closes else fence
        elif found:
            fence = found[1]
            yield line, True
        else:
            yield line, False
