"""A language model that is asked and answers through files: for air-gapped labs, for people who paste into a chat
window, and for agents that work on files.

`<id>.prompt.md` appears whole, by rename; `<id>.answer.md` is taken once it has a clear end, nobody has it open for
writing and it has rested for a moment. An answer of which that is not certain is never read: the search waits.
"""

from __future__ import annotations

import fcntl
import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eureka_agent.contract.task import Task
from eureka_agent.errors import UsageError
from eureka_agent.llm.completion import AskingStopped, Completion
from eureka_agent.llm.extract import Extracted, extract_code
from eureka_agent.llm.prompting import LOOKS, Request
from eureka_agent.llm.proposer import LLMProposer, proposer_of
from eureka_agent.llm.review import ends_in_verdict, vision_of
from eureka_agent.proposers import Sitting
from eureka_agent.runs.calls import as_markdown
from eureka_agent.runs.storage import storage_errors, write_file
from eureka_agent.text import plural
from eureka_sandbox.backends.untrusted import Violation

OWNER = "mailbox.json"
"""Names the run that the folder belongs to."""
LAST_LINE = "<!-- end of answer -->"
POLL_SECONDS = 0.5
REST_SECONDS = 1.0
"""How long an answer must stay as it is before it is read."""
PATIENCE_SECONDS = 5.0
"""After so long without a change, an answer without a clear end is pointed out."""
MAX_BYTES = 1_000_000
NAMED = 6
"""Answers that are named while they are waited for; of more, the number is told."""
_MODEL = re.compile(r"\A\s*<!-- model: ([\w./:+@()\[\], -]{1,100}?) -->[ \t]*\n?")
README = f"""# A mailbox of eureka-agent

A search for reward functions waits here for answers to its prompts.

* `<id>.prompt.md` is a prompt: everything a language model needs to write one reward function. Each stands for itself;
  several wait side by side, and the order of the answers does not matter.
* `<id>.answer.md` is your answer: the model's whole reply, a short design thought and one fenced Python block. Words
  before and after the block do no harm.

By hand: paste a prompt into a chat window, save the reply under the answer's name. As an agent: for every `*.prompt.md`
without its `*.answer.md`, read it, think, write the answer. A prompt may follow on one already answered
(`<id>.repair.prompt.md` says what was wrong, `<id>.critic.prompt.md` asks for a review, `<id>.revise.prompt.md` tells
its objections, `<id>.comment.prompt.md` asks for words on what was measured, `<id>.vision.prompt.md` what is seen in
the picture beside it, `<id>.vision.jpg`); new ones come with every generation, until the search has ended.

An answer is read once it is complete. So write it under another name and rename it (`mv draft.md <id>.answer.md`), or
write it at one go. It is complete if its code block is closed and defines `compute_reward`, if the last line of a
review is its verdict, or if it is the JSON that was asked for. Any other answer, a commentary or a refusal, ends with
this line:

    {LAST_LINE}

The first line may say who answered, which the run then records:

    <!-- model: NAME -->

Nothing here is deleted or changed by the search. Answers that were read are kept in the run, so this folder matters
only while prompts are open. One folder serves one run.
"""


def from_model_name(argument: str, task: Task, prompts_folder: Path | None, sitting: Sitting | None) -> LLMProposer:
    """`mailbox:DIR`."""
    if not argument:
        raise UsageError("mailbox model: which folder are prompts and answers put into? say mailbox:DIR")
    return proposer_of(MailboxLLM(Path(argument), sitting), prompts_folder, sitting)


class MailboxLLM:
    """Writes prompts into `folder` and waits for the answers.

    Without a `sitting` it only sees whether the folder can be used for a new run.

    Raises:
        UsageError: the folder belongs to another run, or is none.
    """

    free = True

    def __init__(self, folder: Path, sitting: Sitting | None) -> None:
        self._folder = folder
        self._sitting = sitting
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        self._refused: set[str] = set()
        self._told = ""
        self._opened = False
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"mailbox {folder}: not a folder; name another with --model mailbox:DIR")
        self._check_owner()

    def complete(self, request: Request) -> Completion:
        """Write the prompt and wait for its answer, for as long as it takes.

        Raises:
            AskingStopped: the sitting ends.
            RunError: the folder cannot be written or read.
        """
        assert self._sitting is not None, "a mailbox without a sitting asks nobody"
        name = request.brief if request.purpose == "propose" else f"{request.brief}.{request.purpose}"
        with storage_errors(self._folder):
            self._open()
            for picture in (message.picture for message in request.messages if message.picture):
                _write_once(self._folder / f"{name}.jpg", self._sitting.run.blob(picture.blob))
            _write_once(self._folder / f"{name}.prompt.md", _letter(name, request).encode("utf-8", "backslashreplace"))
            with self._noted(name):
                path = self._folder / f"{name}.answer.md"
                return _completion(self._awaited(path, request.purpose, self._sitting))

    def _awaited(self, path: Path, purpose: str, sitting: Sitting) -> str:
        """The text of a complete answer to a request of that purpose."""
        seen, since, complained = None, time.monotonic(), False
        while True:
            now, stamp = time.monotonic(), _stamp(path)
            if stamp != seen:
                seen, since, complained = stamp, now, False
                self._refuse(path, False)
            elif stamp is not None and now - since >= REST_SECONDS:
                text = _finished(path)
                if text is not None and _stamp(path) == stamp:
                    return text
                if not complained and now - since >= PATIENCE_SECONDS:
                    complained = True
                    self._refuse(path, True)
                    sitting.watcher.stage(_complaint(path, purpose))
            if sitting.stopping.wait(POLL_SECONDS):
                raise AskingStopped(path.name)
            self._tell()

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        """Count this among the answers that are waited for."""
        with self._lock:
            self._waiting.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(name)
                self._refused.discard(name)
            self._tell()

    def _refuse(self, path: Path, refused: bool) -> None:
        with self._lock:
            (self._refused.add if refused else self._refused.discard)(path.name.removesuffix(".answer.md"))

    def _tell(self) -> None:
        """Let the watcher know which answers are waited for, if that has changed."""
        assert self._sitting is not None
        with self._lock:
            names = [f"{name} (not complete)" if name in self._refused else name for name in sorted(self._waiting)]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            whose = f"{', '.join(names[:NAMED])}{more}"
            text = f"waiting for {plural(len(names), 'answer')} in {self._folder}: {whose}" if names else ""
            if text != self._told:
                self._told = text
                self._sitting.watcher.waiting(text)
                if not names:
                    self._sitting.watcher.stage("all answers are here: checking the code and trying it on the bank")

    def _open(self) -> None:
        """Make the folder this run's, and say what is to be done there."""
        assert self._sitting is not None
        with self._lock:
            if self._opened:
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            self._check_owner()
            owner = {"run": str(self._sitting.run.folder), "created": self._sitting.run.created}
            _write_once(self._folder / OWNER, f"{json.dumps(owner)}\n".encode())
            _write_once(self._folder / "README.md", README.encode())
            self._opened = True
            self._sitting.watcher.stage(
                f"prompts are put into {self._folder} as <id>.prompt.md; put the answer to each beside it as "
                f"<id>.answer.md ({self._folder / 'README.md'} says how)"
            )

    def _check_owner(self) -> None:
        path = self._folder / OWNER
        if not path.is_file():
            return
        try:
            owner = json.loads(path.read_bytes())
            run, created = str(owner["run"]), float(owner["created"])
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path}: does not name a run; name an empty folder with --model mailbox:DIR") from error
        if self._sitting is None or created != self._sitting.run.created:
            raise UsageError(f"mailbox {self._folder}: belongs to the run {run}; give every run a folder of its own")


def _letter(name: str, request: Request) -> str:
    """A prompt as a file."""
    how = f"<!-- Prompt {name} of a reward search: save the whole answer as {name}.answer.md; README.md says how. -->"
    if request.pictured:
        how += f"\n\n**The picture that it speaks of is {name}.jpg, beside this file: look at it first.**"
    return f"{how}\n\n{as_markdown(request.messages)}"


def _write_once(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, whole or not at all."""
    if not path.exists():
        write_file(path, data, durable=False)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written; None if it is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _finished(path: Path) -> str | None:
    """A complete answer, or None while it may still be under way."""
    text = _read(path)
    if text is None:
        return None
    if text.rstrip().endswith(LAST_LINE):
        return text.rstrip().removesuffix(LAST_LINE).rstrip() + "\n"
    if ends_in_verdict(text) or not _no_judgement(text):
        return text
    found = extract_code(text)
    return text if isinstance(found, Extracted) and not found.rule.startswith("bare") else None


def _read(path: Path) -> str | None:
    """The text of a file that nobody writes; None if it is none."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None
    with open(path, "rb") as file:
        if _being_written(file.fileno()):
            return None
        data = file.read()
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None


def _no_judgement(text: str) -> str:
    """Why a text is not the JSON that a vision judge is asked for; empty if it is."""
    try:
        vision_of(_MODEL.sub("", text))
    except Violation as wrong:
        return str(wrong)
    return ""


def _being_written(descriptor: int) -> bool:
    """Whether another process has the file open for writing, as far as the file system can tell."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # for whoever opens it now; SIGIO would end us
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # another user's file, or a file system without leases: the other two signs must do
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _complaint(path: Path, purpose: str) -> str:
    if purpose in LOOKS:
        wrong = _no_judgement(_read(path) or "")
    elif purpose.startswith("critic"):
        wrong = "its last line is no verdict"
    elif purpose == "comment":
        wrong = "nothing says where it ends"
    else:
        wrong = "it has no closed code block that defines compute_reward"
    return (
        f"{path.name} is not read yet: {wrong}; if it is complete all the same, let its last line be {LAST_LINE} (at "
        f"most {MAX_BYTES // 1000} kB of UTF-8 text)"
    )


def _completion(text: str) -> Completion:
    named = _MODEL.match(text)
    return Completion(text=text[named.end() :] if named else text, model=named[1] if named else "mailbox")
