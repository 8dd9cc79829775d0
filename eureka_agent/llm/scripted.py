"""A language model that reads its answers from files: for tests, demonstrations and rewards written by hand.

The files of a folder, `*.md`, `*.txt` or `*.py`, are whole answers (a `.py` file is one code block). A file whose name
begins with a candidate's id, such as `g0c3.md` or `g0c3-bold.py`, answers for that candidate; the others answer in the
order of their names for the candidates in the order of generation and slot. `<name>.repair.md` is the second answer if
the first was no reward function; without one, the model repeats itself. `<id>.comment.md` is what it says of a
candidate's findings (`--analyst`), `<id>.vision.md` of its frames (`--vision-model`), `<id>.vision2.md` if that was of
no use.
"""

from __future__ import annotations

import re
from pathlib import Path

from eureka_agent.contract.task import Task
from eureka_agent.errors import OutOfAnswers, UsageError
from eureka_agent.llm.completion import Completion, NoAnswer
from eureka_agent.llm.prompting import LOOKS, Request, fenced
from eureka_agent.llm.proposer import LLMProposer, proposer_of
from eureka_agent.proposers import Sitting
from eureka_sandbox.protocol import Failure, Verdict

SUFFIXES = (".md", ".txt", ".py")
_ID = re.compile(r"g\d+c\d+(?!\d)")
OPINIONS = ("comment", *LOOKS)
"""Purposes of questions about what was measured, which have an answer only if there is a file for it."""
_TURNS = tuple(f".{purpose}" for purpose in ("repair", *OPINIONS))
"""What names of answers to later turns end with; a repair without one gets the first answer again."""


def from_model_name(
    argument: str, task: Task, prompts_folder: Path | None, sitting: Sitting | None = None
) -> LLMProposer:
    """`scripted:DIR`."""
    if not argument:
        raise UsageError("scripted model: which folder has the answers? say scripted:DIR")
    return proposer_of(ScriptedLLM(Path(argument)), prompts_folder, sitting)


class ScriptedLLM:
    """Answers from `folder`. An answer depends on the candidate alone, so that a resumed run gets the same ones.

    Raises:
        UsageError: the folder holds no answers.
    """

    free = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES) if folder.is_dir() else []
        if not files:
            wanted = ", ".join("*" + suffix for suffix in SUFFIXES)
            raise UsageError(f"scripted model: no answers in {str(folder)!r}; expected a folder with {wanted} files")
        self._first = [path for path in files if not path.stem.endswith(_TURNS)]
        self._later = {path.stem: path for path in files if path.stem.endswith(_TURNS)}

    def complete(self, request: Request) -> Completion:
        """The candidate's answer.

        Raises:
            OutOfAnswers: there is no file for this candidate.
            UsageError: it cannot be read.
        """
        path = self._opinion(request) if request.purpose in OPINIONS else self._answer(request)
        if request.purpose == "repair":
            path = self._later.get(f"{path.stem}.repair", path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"scripted model: cannot read {path}: {error}") from error
        return Completion(text=fenced(text) if path.suffix == ".py" else text, model=f"scripted:{path.name}")

    def _opinion(self, request: Request) -> Path:
        name = f"{request.brief}.{request.purpose}"
        found = self._later.get(name)
        if found is None:
            raise NoAnswer(Failure(verdict=Verdict.CODE_ERROR, message=f"no file {name}"))
        return found

    def _answer(self, request: Request) -> Path:
        named = {found.group(): path for path in reversed(self._first) if (found := _ID.match(path.name))}
        unnamed = [path for path in self._first if not _ID.match(path.name)]
        if request.brief in named:
            return named[request.brief]
        if request.position < len(unnamed):
            return unnamed[request.position]
        raise OutOfAnswers(
            f"scripted model: no answer for candidate {request.brief} in {self._folder}: no file {request.brief}*, "
            f"and number {request.position + 1} was asked for of {len(unnamed)} files without an id"
        )
