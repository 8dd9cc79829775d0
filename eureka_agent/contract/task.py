"""A task is a folder: `task.yaml`, `task.py`, `reward_human.py`, and `anchors.yaml` as measured on a machine.

The host reads it as text and never imports it. A malformed file raises `TaskError` naming file, field and line.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from eureka_agent.content import content
from eureka_agent.contract.reward_code import check_reward_code
from eureka_agent.contract.syntax import parse
from eureka_agent.contract.yaml_lines import line_of
from eureka_agent.errors import TaskError
from eureka_sandbox.bodies import BODIES, TRAINING_PROGRESS, Body
from eureka_sandbox.hyperparameters import MOST_PARAMETERS, parameters, settle
from eureka_sandbox.protocol import EnvironmentSpec, VariableSpec, Variation

M = TypeVar("M", bound=BaseModel)
TASK_FORMAT = 1
FILES = ("task.yaml", "task.py", "reward_human.py")
VariationName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,31}$")]


class Section(BaseModel):
    """Base of task.yaml's parts."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Environment(Section):
    """Which simulation."""

    mujoco: str
    """Body of the fast engine, see `eureka doctor` or `eureka_sandbox.bodies`."""
    episode_steps: int = Field(default=1000, gt=0, le=100_000)
    """Control steps until an episode is truncated."""

    @field_validator("mujoco")
    @classmethod
    def _known_body(cls, name: str) -> str:
        if name not in BODIES:
            raise ValueError(f"unknown body {name!r}; bodies: {', '.join(sorted(BODIES))}")
        return name


class Metric(Section):
    """What `fitness` in task.py returns."""

    name: str
    unit: str
    meaning: str
    """One sentence, with the sign convention; fitness is always higher-is-better."""
    success: str
    """What `success` in task.py tests, in words."""


class TrainingSettings(Section):
    """Training budget and hyperparameters, in rl-zoo style."""

    algorithm: Literal["ppo", "sac", "td3"] = "ppo"
    timesteps: int = Field(gt=0)
    hyperparameters: dict[str, Any] = {}

    @field_validator("hyperparameters")
    @classmethod
    def _settled(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if algorithm := info.data.get("algorithm"):
            settle(algorithm, value)  # a wrong name or value is told here, not by the first training
        return value


class Sight(Section):
    """What a vision model is asked to look for (`--vision-model`), one sentence each."""

    goal: str = Field(default="", max_length=1000)
    """What the frames of a perfect policy show; absent: the description."""
    baseline: str = Field(
        default="The robot as it moves before any training: limp, or twitching at random.",
        min_length=10,
        max_length=1000,
    )
    """What those of a worthless one show."""


class TaskFile(Section):
    """The schema of task.yaml."""

    format: Literal[1] = 1
    description: str = Field(min_length=10)
    environment: Environment
    state_variables: list[str] | None = None
    """Names a reward may use; absent: all that the body and `derived` have."""
    derived: list[VariableSpec] = []
    """State variables that task.py's `derive` adds."""
    metric: Metric
    fitness: Literal["metric", "preference", "vision"] = "metric"
    """What selects: the metric, what people prefer of the films, or what a vision model sees in frames (the metric is
    measured and shown all the same)."""
    vision: Sight = Sight()
    descriptors: list[str] = []
    """State variables whose means, beside effort and speed, tell behaviours apart (`--strategy map_elites`)."""
    training: TrainingSettings
    evaluation_episodes: int = Field(default=30, ge=1, le=1024)
    variations: Annotated[dict[VariationName, Variation], Field(max_length=32)] | None = None
    """Worlds in which the final policies are tried; absent: the usual ones of the body, `{}`: none."""

    @field_validator("variations")
    @classmethod
    def _differ(cls, value: dict[str, Variation] | None) -> dict[str, Variation] | None:
        for name, variation in (value or {}).items():
            if variation == Variation():
                raise ValueError(f"{name!r} changes nothing; give one of {', '.join(Variation.model_fields)}")
        return value

    @property
    def by_preference(self) -> bool:
        """Whether people's preference is the fitness."""
        return self.fitness == "preference"

    @property
    def by_vision(self) -> bool:
        """Whether what a vision model sees is the fitness."""
        return self.fitness == "vision"

    @property
    def goal(self) -> str:
        """What a vision model is told to look for."""
        return self.vision.goal or self.description


class Anchor(Section):
    """One measured reference: mean of the metric over all episodes, with a 95 % bootstrap interval over seeds."""

    mean: float
    low: float
    high: float
    per_seed: list[float]
    success_rate: float


class Anchors(Section):
    """`anchors.yaml`: written by `eureka tasks measure`, never by hand."""

    random: Anchor
    human: Anchor
    seeds: list[int]
    episodes: int
    timesteps: int
    learner: str
    measured: str
    """ISO date."""
    versions: dict[str, str]


@dataclass(frozen=True)
class Task:
    """A checked task."""

    name: str
    folder: Path
    spec: TaskFile
    files: dict[str, bytes]
    """The folder's files as read, by name."""
    anchors: Anchors | None

    @property
    def body(self) -> Body:
        """The robot."""
        return BODIES[self.spec.environment.mujoco]

    @property
    def human_reward(self) -> str:
        """The human baseline's source."""
        return self.files["reward_human.py"].decode("utf-8", "replace")

    @property
    def variables(self) -> tuple[VariableSpec, ...]:
        """Every state variable a reward may name: the body's, `training_progress`, then the task's derived ones."""
        available = [v.spec for v in (*self.body.variables, TRAINING_PROGRESS)] + list(self.spec.derived)
        chosen = self.spec.state_variables
        return tuple(v for v in available if chosen is None or v.name in chosen)

    @property
    def environment(self) -> EnvironmentSpec:
        """What a box builds."""
        return EnvironmentSpec(
            body=self.spec.environment.mujoco,
            max_episode_steps=self.spec.environment.episode_steps,
            derived=tuple(self.spec.derived),
        )

    @property
    def ends_episodes(self) -> bool:
        """Whether task.py has a terminal rule of its own, in place of the body's."""
        return any(
            isinstance(node, ast.FunctionDef) and node.name == "terminated"
            for node in parse(self.files["task.py"]).body
        )

    @property
    def digest(self) -> str:
        """Hash of the files that define the task (not its anchors)."""
        parts = [name.encode() + b"\0" + self.files[name] for name in FILES]
        return hashlib.sha256(b"\0\0".join(parts)).hexdigest()


def builtin_tasks() -> list[str]:
    """Names of the shipped tasks."""
    return sorted(p.parent.name for p in content("tasks").glob("*/task.yaml"))


def find_task(name_or_path: str) -> Path:
    """Folder of a shipped task by name, or of any task by path (anything with a separator, or `.`)."""
    path = Path(name_or_path)
    if "/" in name_or_path or name_or_path in (".", "..") or path.is_absolute():
        if not (path / "task.yaml").is_file():
            raise TaskError(f"{path}: no task.yaml there; `eureka new NAME --env BODY` writes a task folder")
        return path.resolve()
    if name_or_path in builtin_tasks():
        return content("tasks") / name_or_path
    if (path / "task.yaml").is_file():
        raise TaskError(f"no shipped task is named {name_or_path!r}; for the folder here, say ./{name_or_path}")
    close = difflib.get_close_matches(name_or_path, builtin_tasks(), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise TaskError(f"unknown task {name_or_path!r}; {hint}`eureka tasks list` shows them, a path needs a '/'")


def load_task(name_or_path: str) -> Task:
    """Read and check a task folder.

    Raises:
        TaskError: naming file, field and line.
    """
    folder = find_task(name_or_path)
    files = {}
    for name in FILES:
        path = folder / name
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            raise TaskError(f"{path}: {error.strerror or error}; a task needs {', '.join(FILES)}") from error
    anchors_path = folder / "anchors.yaml"
    anchors = None
    if anchors_path.is_file():
        anchors = _validated(Anchors, anchors_path.read_bytes(), anchors_path)
    task = task_from_files(folder.name, folder, files, anchors)
    _check_human_reward(task)
    _check_network(task)
    return task


def task_from_files(name: str, folder: Path, files: dict[str, bytes], anchors: Anchors | None) -> Task:
    """Check a task given as file contents (from its folder, or from a run's snapshot)."""
    spec = _validated(TaskFile, files["task.yaml"], folder / "task.yaml")
    task = Task(name=name, folder=folder, spec=spec, files=files, anchors=anchors)
    _check_variables(task)
    _check_python(folder / "task.py", files["task.py"], required=("fitness", "success"))
    _check_python(folder / "reward_human.py", files["reward_human.py"], required=("compute_reward",))
    return task


def _validated(model: type[M], text: bytes, path: Path) -> M:
    try:
        node = yaml.compose(text.decode("utf-8"), Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise TaskError(f"{path}{where}: not readable as YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(data, dict):
        raise TaskError(f"{path}:1: expected a mapping with description, environment, metric, training")
    if model is TaskFile and isinstance(data.get("format"), int) and data["format"] > TASK_FORMAT:
        line = line_of(node, ("format",))
        newer = f"format {data['format']} is newer than this version reads ({TASK_FORMAT})"
        raise TaskError(f"{path}:{line}: {newer}; upgrade eureka-agent")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        line = line_of(node, first["loc"])
        name = ".".join(str(part) for part in first["loc"])
        raise TaskError(f"{path}:{line}: {name}: {_complaint(first, model)}") from error


def _complaint(error: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong with one field, its value, and what could stand there."""
    if error["type"] == "missing":
        return "missing; `eureka new NAME --env BODY` writes a folder that shows every field"
    if error["type"] == "extra_forbidden":
        *sections, name = (str(part) for part in error["loc"])
        for section in sections:
            field = model.model_fields.get(section)
            model = next(_models_in(field.annotation), model) if field else model
        known = list(model.model_fields)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown field; {hint}known: {', '.join(known) or 'none'}"
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict | list):  # a whole section, of which the message names the place
        return message
    return f"{message} (given: {str(error['input'])[:60]!r})"


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation such as `dict[str, Variation] | None` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _check_variables(task: Task) -> None:
    path = task.folder / "task.yaml"
    given = [v.name for v in (*task.body.variables, TRAINING_PROGRESS)]
    known = given + [v.name for v in task.spec.derived]
    repeated = {name for name in known if known.count(name) > 1}
    if repeated:
        raise TaskError(f"{path}: derived: {sorted(repeated)[0]!r} is already a state variable")
    for field, names in (("state_variables", task.spec.state_variables or []), ("descriptors", task.spec.descriptors)):
        for index, name in enumerate(names):
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                node = yaml.compose(task.files["task.yaml"].decode(), Loader=yaml.SafeLoader)
                line = line_of(node, (field, index))
                raise TaskError(f"{path}:{line}: {field}: unknown {name!r}; {hint}it has: {', '.join(known)}")


def _check_human_reward(task: Task) -> None:
    """The same static check as a candidate's, before a search is spent that could not be compared in the end."""
    failure = check_reward_code(task.human_reward, task.variables)
    if failure:
        where = task.folder / "reward_human.py"
        raise TaskError(f"{where}:{failure.line or 1}: {failure.message}")


def _check_network(task: Task) -> None:
    """A policy that could not leave its box is told before it is trained."""
    training = task.spec.training
    settled = settle(training.algorithm, training.hyperparameters)
    size = parameters(training.algorithm, settled, task.body.observation_size, task.body.action_size)
    if size > MOST_PARAMETERS:
        line = line_of(yaml.compose(task.files["task.yaml"].decode()), ("training", "hyperparameters", "policy_kwargs"))
        raise TaskError(
            f"{task.folder / 'task.yaml'}:{line}: training.hyperparameters.policy_kwargs: the policy would have "
            f"{size:,} parameters with its critics and their targets, at most {MOST_PARAMETERS:,}; lower net_arch"
        )


def _check_python(path: Path, source: bytes, required: tuple[str, ...]) -> None:
    try:
        tree = parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise TaskError(f"{path}:{line}: not valid Python: {getattr(error, 'msg', error)}") from error
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name in required:
        if name not in defined:
            raise TaskError(f"{path}:1: no function {name!r}; {path.name} must define {' and '.join(required)}")
