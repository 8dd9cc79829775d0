"""What a language model said around its code: the design thought, for the person who reviews the reward."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eureka_agent.llm.bounded import LONGEST_READ, without
from eureka_agent.runs.calls import Call
from eureka_agent.runs.run import Run

LONGEST = 4000
"""Characters of an answer that are shown."""
_BLOCK = re.compile(r"^[ \t>]*(`{3,}|~{3,}).*?(?:^[ \t>]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_WRAPPED = re.compile(r"^((?![#|]).*[\w,;:.!?)`*])\n(?=[A-Za-z(`])", re.MULTILINE)
"""A line and its break inside a paragraph: neither side is a heading or a row of a table, nor what follows an item."""
_COMMENT, _COMMENT_END = re.compile("<!--"), re.compile("-->")


@dataclass(frozen=True)
class Thought:
    """An answer without its code."""

    text: str
    model: str
    """Who answered, as it names itself."""


def thoughts(run: Run) -> dict[str, Thought]:
    """By candidate's id, the words of the answer that its code came from: the last that is about code."""
    answered: dict[str, Call] = {}
    for call in run.calls():
        if call.response is not None and not call.purpose.startswith(("critic", "comment", "vision")):
            answered[call.brief] = call
    return {brief: thought for brief, call in answered.items() if (thought := _thought(run, call)).text}


def _thought(run: Run, call: Call) -> Thought:
    assert call.response is not None
    answer = run.blob(call.response).decode("utf-8", "replace")
    return Thought(prose(answer), call.model or call.asked or "")


def prose(answer: str) -> str:
    """The words of an answer without code blocks and comments, cut to a readable length."""
    text = _BLOCK.sub("\n", answer[:LONGEST_READ].replace("\r\n", "\n"))
    text = without(text, _COMMENT, _COMMENT_END)
    text = _WRAPPED.sub(r"\1 ", re.sub(r"\n{3,}", "\n\n", text).strip())
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + " …"
