"""Texts that make a careless reader look through the rest of them again and again.

`python endless_cases.py <reader>` gives all of them to one reader, at full length, and dies by a signal if one takes
SECONDS of processor time.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from eureka_agent.contract.reward_code import MAX_BYTES, check_reward_code, component_names, normalised_hash
from eureka_agent.contract.task import load_task
from eureka_agent.llm.bounded import LONGEST_READ
from eureka_agent.llm.extract import extract_code
from eureka_agent.llm.reasons import told
from eureka_agent.llm.review import commentary_of, ends_in_verdict, verdict_of, vision_of
from eureka_agent.report.components import formulas
from eureka_agent.report.markup import code_lines
from eureka_agent.report.thoughts import prose
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.protocol import Failure, Verdict

SECONDS = 10.0
"""The slowest of them takes 2 s on a busy machine; read carelessly each would take from a minute to hours."""
OPEN = "def compute_reward(x): (\n"
FENCED = "```\ndef compute_reward(x): return x\n```\n"
TOKENS = (
    *("<think>", "<think>a</thinking>", "</think>", "\n<think>", "<thinking>x</think>"),
    *("<pre><code ", "<pre><code>", "<pre><code>a</code> ", "</code></pre>", "<pre> "),
    *("\n", " ", " \n", "\t", "\0", "\u202e", "!", "#\n", "class a:\n", "@a\n", "A ", "a,\n", "'''"),
    *("`", "```\n", "```python\n", "```\na\n```\n", "```a\nx\n", "~", "> ", "```json\n{}\n```\n", FENCED),
    *("&", "&#1", "&lt;", "[", '{"a":', '[{"a":1},', '"compute_reward",', "\\", "(", "}"),
    *("<!--", "-->", "<!-- a -->", "- ", "- a\n", "1. ", "-\n", "verdict", "verdict ", "Verdict: keep\n"),
    *("def ", "def compute_reward\n", OPEN),
)
FRAMES = (("", ""), (OPEN, ""), ("", f"\n{OPEN}"), ("```\na\n", ""), ('["compute_reward ', ""), ("- ", "`"))
"""What stands before and after."""
OPINIONS = (("", ""), ("- ", ""), ("", "\nVerdict: revise"), ("```json\n", ""))
PROGRAMS = {
    "a long sum": "    y = " + "1+" * 40_000 + "1\n",
    "many brackets": "    y = " + "(" * 90_000,
    "many minuses": "    y = " + "-" * 90_000 + "1\n",
    "many statements": "    " + "a;" * 45_000 + "a\n",
    "classes in classes": "".join(f"{' ' * n}class a:\n" for n in range(1, 90)) + " " * 90 + "a;" * 40_000 + "a\n",
    "a long name": "    y = " + "a_" * 45_000 + "\n",
    "many names": "    y = " + "".join(f"a{n}+0," for n in range(9_000)) + "\n",
    "many functions": "    return x, {'a': x}\n" + "".join(f"def compute_rewar{n}(): 0\n" for n in range(3_500)),
    "lines of spaces": " \n" * 45_000 + "    return x, {'a': x}\n",
    "a string of escapes": "    y = '" + "\\N{" * 30_000 + "\n",
}


def _all(frames: tuple[tuple[str, str], ...], lengths: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    for before, after in frames:
        for token in TOKENS:
            for length in lengths:
                room = length - len(before) - len(after)
                yield f"{before!r}, {token!r} for {length}, {after!r}", before + token * (room // len(token)) + after


def answers() -> Iterator[tuple[str, str]]:
    """For each frame as much as is read without a fence; unframed, as much as is read at all and as is kept."""
    yield from _all(FRAMES, (MAX_BYTES,))
    yield from _all(FRAMES[:1], (LONGEST_READ, 4 * LONGEST_READ))


def opinions() -> Iterator[tuple[str, str]]:
    """As much as is read, and as is kept."""
    yield from _all(OPINIONS, (LONGEST_READ,))
    yield from _all(OPINIONS[:1], (4 * LONGEST_READ,))


def programs() -> Iterator[tuple[str, str]]:
    """Rewards of the greatest length."""
    for name, body in PROGRAMS.items():
        yield name, f"def compute_reward(x):\n{body}"
        yield f"{name}, as argument", f"def compute_reward({body.strip()[:80_000]}):\n    return x, {{}}\n"
        yield f"{name}, ten times", f"def compute_reward(x):\n{10 * body}"


def _gates(code: str) -> None:
    check_reward_code(code, load_task("hopper_forward").variables)
    component_names(code)
    normalised_hash(code)
    told(Failure(verdict=Verdict.RUNTIME_ERROR, message="NameError: name 'a' is not defined"), code)


READERS: dict[str, tuple[Callable[[str], object], Callable[[], Iterator[tuple[str, str]]]]] = {
    "extract_code": (extract_code, answers),
    "verdict_of": (verdict_of, opinions),
    "ends_in_verdict": (ends_in_verdict, opinions),
    "commentary_of": (commentary_of, opinions),
    "vision_of": (vision_of, opinions),
    "prose": (prose, opinions),
    "gates": (_gates, programs),
    "formulas": (formulas, programs),
    "code_lines": (code_lines, programs),
}


def main(reader: str) -> None:
    """Print each text's name before it is read."""
    read, texts = READERS[reader]
    for name, text in texts():
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # ends the process even while a pattern holds Python's lock
        with suppress(Violation):
            read(text)
    signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main(sys.argv[1])
