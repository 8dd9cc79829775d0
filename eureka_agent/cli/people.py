"""What a person gives to a search by `eureka evolve`: rewards to begin with, reviews, words at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eureka_agent.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from eureka_agent.contract.task import Task
    from eureka_agent.population import Population
    from eureka_agent.review.record import Review
    from eureka_agent.runs.run import Run
    from eureka_agent.settings import Settings


@dataclass(frozen=True)
class Hands:
    """How a person takes part in one sitting."""

    seed_rewards: tuple[Path, ...] = ()
    reviews: tuple[Path, ...] = ()
    interactive: bool = False
    live: bool = False

    def check(self, resume: bool) -> None:
        """See whether this goes together.

        Raises:
            UsageError: it does not.
        """
        if self.reviews and not resume:
            raise UsageError("--review is of a run that there is; add --resume RUN")
        if self.seed_rewards and resume:
            raise UsageError("--seed-reward is for a new run; an edit in the report's review adds a reward to this one")
        if self.interactive and not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError('--interactive needs a terminal; `eureka feedback RUN "…"` works from anywhere')


def read_seeds(paths: Sequence[Path], task: Task, population: int) -> tuple[str, ...]:
    """The code of rewards that a person gives to the first generation.

    Raises:
        UsageError: naming file and line of what is wrong.
    """
    from eureka_agent.contract.reward_code import check_reward_code, normalised_source
    from eureka_agent.review.record import read_small_file

    if len(paths) > population:
        raise UsageError(
            f"{len(paths)} × --seed-reward, but --population {population}: the first generation is smaller"
        )
    codes = []
    for path in paths:
        try:
            source = read_small_file(path.resolve()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"--seed-reward {path}: byte {error.start} is not utf-8") from error
        except UsageError as error:
            raise UsageError(f"--seed-reward {error}") from error
        if failure := check_reward_code(source, task.variables):
            raise UsageError(f"--seed-reward {path}:{failure.line or 1}: {failure.message}")
        codes.append(normalised_source(source))
    return tuple(codes)


def suited_to(task: Task, settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The settings of a search whose fitness is what people or a vision model prefer: nothing else may select.

    Raises:
        UsageError: a strategy or a bound was named that goes by the metric, or no vision model was.
    """
    if not task.spec.by_preference and not task.spec.by_vision:
        return settings
    what = "what a vision model sees" if task.spec.by_vision else "people's preference"
    if task.spec.by_vision and settings.vision_model is None:
        raise UsageError(f"the fitness of {task.name} is {what}: name one that looks (--vision-model openai/NAME)")
    for name, wrong in (
        ("strategy", settings.strategy in ("islands", "map_elites")),
        ("target", settings.target is not None),
        ("racing", "racing" in given and settings.racing != "none"),
        ("contest_seeds", settings.contest_seeds > 1 and "contest_seeds" in given),
        ("tune", settings.tune > 0),
        ("prescreen", settings.prescreen),
    ):
        if wrong:
            value = getattr(settings, name)
            flag = f"--{name.replace('_', '-')}"
            said = flag if value is True else f"{flag} {value}"
            raise UsageError(f"{said} goes by the metric; the fitness of {task.name} is {what}")
    return settings.model_copy(update={"racing": "none", "contest_seeds": 1})


def send_reviews(paths: Sequence[Path], run: Run) -> None:
    """Put reviews into the run's inbox, all or none.

    Raises:
        UsageError: one is of another run, or of other code.
    """
    from eureka_agent.review.record import check_review
    from eureka_agent.runs.inbox import Reviewed, post

    reviews = [_review(path) for path in paths]
    for path, review in zip(paths, reviews, strict=True):
        try:
            check_review(review, run)
        except UsageError as wrong:
            raise UsageError(f"--review {path}: {wrong}") from wrong
    for review in reviews:
        post(run.folder, Reviewed(review=review))


def edits_in(paths: Sequence[Path]) -> int:
    """How many candidates reviews add to the next generation.

    Raises:
        UsageError: one cannot be read.
    """
    return sum(opinion.edit is not None for path in paths for opinion in _review(path).opinions)


def _review(path: Path) -> Review:
    from eureka_agent.review.record import read_review

    try:
        return read_review(path)
    except UsageError as wrong:
        raise UsageError(f"--review {wrong}") from wrong


def let_go_on(run: Run) -> None:
    """Whoever resumes a paused or stopped search wants it to go on."""
    from eureka_agent.runs.inbox import GoOn, Pause, StopAfterGeneration, forget, letters, post

    found, _ = letters(run.folder)
    for letter in found:
        if isinstance(letter.message, StopAfterGeneration):
            forget(run.folder, letter.name)
    state = [letter.message for letter in found if isinstance(letter.message, Pause | GoOn)]
    if state and isinstance(state[-1], Pause):
        post(run.folder, GoOn())


def asking(console: Console) -> Callable[[Population], str]:
    """Asks at the terminal after a generation."""

    def ask(population: Population) -> str:
        best = population.best
        leads = f"{best.id} leads with {population.standing(best).told('1')}" if best else "nothing has trained yet"
        console.print(f"generation {population.generations} is done, {leads}")
        try:
            return console.input("words for the next generation (Enter: go on)> ", markup=False)
        except EOFError:
            return ""

    return ask


@contextmanager
def served(run_folder: Path, wanted: bool, console: Console) -> Iterator[None]:
    """Serve the page of a run while the block runs, if that is wanted."""
    if not wanted:
        yield
        return
    from eureka_agent.review.server import serving

    with serving(run_folder) as url:
        console.print(f"live on this machine, a secret address: {url}", soft_wrap=True)
        yield
