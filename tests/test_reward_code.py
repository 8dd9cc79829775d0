"""Reward code is read as text: what the contract allows passes, honest mistakes are named with their line."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest

from eureka_agent.contract import renaming
from eureka_agent.contract.reward_code import check_reward_code, component_names, normalised_hash, undefined_names
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import Failure, VariableSpec

ANSWERS = Path(__file__).parents[1] / "evaluation" / "bench" / "answers"
PILOT = sorted(path for task in ("half_cheetah_backflip", "hopper_forward") for path in (ANSWERS / task).glob("*.py"))
VARIABLES = tuple(v.spec for v in BODIES["hopper"].variables)
GOOD = """import torch


def compute_reward(torso_x_velocity: torch.Tensor, actions: torch.Tensor):
    forward = 2.0 * torch.tanh(torso_x_velocity / 3.0)
    control = -0.001 * (actions**2).sum(dim=-1)
    return forward + control, {"forward": forward, "control": control}
"""


def variables_of(path: Path) -> tuple[VariableSpec, ...]:
    body = "hopper" if "hopper" in str(path) else "half_cheetah"
    return tuple(v.spec for v in BODIES[body].variables)


def failure(source: str) -> Failure:
    found = check_reward_code(source, VARIABLES)
    assert found is not None
    return found


def test_all_rewards_of_the_pilot_are_there() -> None:
    assert len(PILOT) == 32


@pytest.mark.parametrize("path", PILOT, ids=lambda p: "/".join(p.parts[-2:]))
def test_a_reward_as_a_language_model_wrote_it_passes(path: Path) -> None:
    source = path.read_text()
    assert check_reward_code(source, variables_of(path)) is None
    assert len(component_names(source)) >= 2
    assert all(f'"{name}"' in source for name in component_names(source))


@pytest.mark.parametrize(
    "source",
    [
        GOOD,
        "\ufeff" + GOOD.replace("\n", "\r\n"),
        "# -*- coding: UTF-8 -*-\n" + GOOD + "# coding: of a third line\n",
        "import math\nPI = math.pi\n\ndef squash(x):\n    return x / PI\n\n" + GOOD.replace("torch.tanh", "squash"),
        GOOD.replace("def compute", "@torch.jit.script\ndef compute"),
        GOOD.replace("def compute_reward", "def reward") + "\ncompute_reward = torch.jit.script(reward)\n",
        GOOD.replace("    forward =", "    def inner(x):\n        yield x\n\n    forward ="),
        "class Scale:\n    speed = 3.0\n\n" + GOOD.replace("3.0", "Scale.speed"),
        GOOD.replace("forward = 2.0", "scale = (lambda x: x)(3.0)\n    Δx = scale\n    forward = Δx"),
        "def compute_reward():\n    pass\n\n" + GOOD,
        "from typing import Dict, Tuple\nfrom torch import Tensor\n" + GOOD.replace("):", ") -> Tuple[Tensor, Dict]:"),
        "from __future__ import annotations\n" + GOOD.replace("):", ") -> Tuple[Tensor, Dict]:"),
        GOOD.replace('{"forward": forward, "control": control}', "dict(forward=forward, control=control)"),
        GOOD.replace("2.0", "(" * 150 + "2.0" + ")" * 150),
        GOOD.replace("forward = 2.0", "assert [w for w in (1.0,)]\n    forward = 2.0"),
    ],
    ids=["plain", "BOM and CRLF", "its encoding", "helper and constant", "jit decorator", "jit call",
         "nested generator", "class", "lambda", "redefined", "annotations", "postponed annotations", "dict call",
         "parentheses", "comprehension"],
)  # fmt: skip
def test_whatever_the_contract_allows_passes(source: str) -> None:
    assert check_reward_code(source, VARIABLES) is None


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("def compute_reward(", "def compute_reward((", "syntax error", 4),
        ("compute_reward", "reward", "no function 'compute_reward' at the top level; rename 'reward'", 4),
        ("compute_reward", "cоmpute_reward", "U+043E CYRILLIC SMALL LETTER O", 4),
        ("torso_x_velocity", "torso_vel", "unknown state variable 'torso_vel'; did you mean 'torso_x_velocity'?", 4),
        ("torso_x_velocity", "zzz", "choose from: torso_x, torso_z", 4),
        ("torso_x_velocity", "torso_х_velocity", "did you mean 'torso_x_velocity'?", 4),
        ("torso_x_velocity:", "self, torso_x_velocity:", "no `self`", 4),
        ("actions: torch.Tensor", "actions=None", "default value", 4),
        ("actions: torch.Tensor", "*actions", "argument *actions: name each state variable instead", 4),
        ("actions: torch.Tensor", "**actions", "argument **actions: name each state variable instead", 4),
        ("actions: torch.Tensor", "*, actions", "plain arguments", 4),
        ("actions: torch.Tensor", "torso_x_velocity", "duplicate argument", 4),
        ("def compute", "async def compute", "async", 4),
        ("return", "yield", "generator", 7),
        ("return", "total =", "returns nothing", 4),
        (", {", ", None, {", "returns 3 values", 7),
        ("return forward + control, {", "return {", "returns one value", 7),
        ('"forward"', '"Forward speed"', "component name 'Forward speed'", 7),
        ('"forward"', '"' + "f" * 33 + '"', "component name", 7),
        ("import torch", "", "'torch' is not defined; add `import torch`", 4),
        ("2.0 *", "GAIN *", "'GAIN' is not defined", 5),
        ("forward = 2.0", "fоrward = 2.0", "U+043E", 5),
        ("2.0", "2.0\0", "NUL byte", 5),
        ("2.0 *", "2.0 * \u202e", "U+202E", 5),
        ("forward = 2.0", "\u3164 = 1\n    forward = 2.0", "invisible character U+3164", 5),
        ("import torch\n", "import torch\n# so\u2028def compute_reward(torso_z):\n", "invisible character U+2028", 2),
        ("import torch\n", "import torch  # \x1b[8m\n", "invisible character U+001B", 1),
        ("import torch\n", "import torch  # \U000e0049\U000e0047\n", "invisible character U+E0049", 1),
        ("import torch\n", "import torch\n# -*- coding: unicode_escape -*-\n", "the encoding 'unicode_escape'", 2),
        ("2.0 *", '"\ud800" *', "surrogate", 5),
        ("2.0", "(" * 300 + "2.0" + ")" * 300, "nested", 5),
        ("2.0", "-" * 20_000 + "2.0", "nested", None),
        ("2.0", "+".join(["1.0"] * 500), "nested more than 200 levels deep", 5),
        ("2.0 *", "2.0 * #" + "x" * 110_000, "kB", None),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(old: str, new: str, message: str, line: int | None) -> None:
    found = failure(GOOD.replace(old, new))
    assert message in found.message
    assert found.line == line
    assert found.file == "reward.py"


def test_a_function_inside_a_class_is_said_to_be_there() -> None:
    found = failure("class Env:\n    def compute_reward(self, actions):\n        return 0, {}\n")
    assert (found.message, found.line) == (
        "compute_reward is defined inside another block; define it at the top level",
        2,
    )


@pytest.mark.parametrize("source", ["", "\n", "x = 1", "compute_reward = 3", "def f(:", "\0", "(" * 10_000, "\ud800"])
def test_rubbish_is_a_failure_and_never_raises(source: str) -> None:
    assert check_reward_code(source, VARIABLES) is not None
    assert component_names(source) == ()
    assert undefined_names(source) == {}
    assert re.fullmatch("2:[0-9a-f]{64}", normalised_hash(source))


def test_a_failure_message_is_short_whatever_the_names() -> None:
    assert len(failure(GOOD.replace("torso_x_velocity", "x" * 5000)).message) <= 1000


def test_the_code_is_not_run() -> None:
    assert check_reward_code("raise SystemExit(3)\n" + GOOD, VARIABLES) is None


def test_components_are_found_in_dicts_built_step_by_step() -> None:
    source = (
        "import torch\ndef compute_reward(actions):\n    parts: dict = {'control': -actions.sum(-1)}\n"
        "    parts['alive'] = 1.0\n    other = {'no': 1}\n    return sum(parts.values()), parts\n"
    )
    assert component_names(source) == ("alive", "control")


def test_layout_comments_docstrings_and_annotations_do_not_change_the_hash() -> None:
    same = (
        "from __future__ import annotations\nimport torch\n"
        "def compute_reward(torso_x_velocity,actions):\n    'What it pays.'\n"
        "    forward: torch.Tensor = 2.0*torch.tanh(torso_x_velocity/3.0)  # m/s\n\n"
        "    control = (-0.001*(actions ** 2).sum(dim=-1))\n"
        "    return forward+control, {'forward':forward,'control':control}"
    )
    assert normalised_hash(same) == normalised_hash(GOOD)
    assert normalised_hash(GOOD) == normalised_hash(GOOD.replace("\n", "\r\n"))


@pytest.mark.parametrize(
    ("old", "new"), [("3.0", "3.1"), ("tanh", "sigmoid"), ('"control"', '"cost"'), ("-0.001", "0.001")]
)
def test_what_changes_the_reward_changes_the_hash(old: str, new: str) -> None:
    assert normalised_hash(GOOD.replace(old, new)) != normalised_hash(GOOD)


LOCALS = """
import torch
SCALE = 2.0
def bell(x, width):
    z = x / width
    return torch.exp(-z * z)
def compute_reward(torso_x_velocity, actions):
    fast = bell(torso_x_velocity - 3.0, width=SCALE)
    total = torch.zeros_like(fast)
    parts = {"fast": fast}
    def add(name, value):
        nonlocal total
        total = total + value
        parts[name] = value
    add("cost", -0.1 * sum(a * a for a in actions.unbind(-1)))
    worst = [abs(a) for a in actions.unbind(-1)]
    pick = lambda row: row[0]
    if (calm := pick(worst)) is not None:
        add("calm", -calm)
    return total, parts
"""


def renamed(code: str, **names: str) -> str:
    """Whole words only, and none in quotes."""
    for old, new in names.items():
        code = re.sub(rf"(?<![\w\"]){old}(?![\w\"])", new, code)
    return code


@pytest.mark.parametrize(
    "names",
    [
        {"fast": "gait"},
        {"total": "summed", "parts": "terms", "calm": "quiet"},
        {"add": "log", "value": "paid", "a": "torque", "row": "line", "z": "ratio", "x": "distance"},
        {"worst": "a1", "pick": "b1"},
    ],
)
def test_what_locals_are_called_does_not_change_the_hash(names: dict[str, str]) -> None:
    other = renamed(LOCALS, **names)
    assert other != LOCALS
    assert check_reward_code(other, VARIABLES) is None
    assert normalised_hash(other) == normalised_hash(LOCALS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{'fast': fast}".replace("'", '"'), '{"swift": fast}'),
        ('"calm", -calm', '"calm", -fast'),
        ("def compute_reward(torso_x_velocity, actions)", "def compute_reward(actions, torso_x_velocity)"),
        ("        nonlocal total\n        total = total + value", "        other = total + value"),
        ("abs(a) for a in", "abs(fast) for a in"),
        ("return total, parts", "return fast, parts"),
        ("z = x / width", "z = width / x"),
        ("lambda row: row[0]", "lambda row: worst[0]"),
        ("width=SCALE", "x=SCALE"),
        ("z * z", "z * SCALE"),
        ("total = torch.zeros_like(fast)", "torch = torch.zeros_like(fast)"),
    ],
)
def test_another_name_that_means_something_else_changes_the_hash(old: str, new: str) -> None:
    assert old in LOCALS
    assert normalised_hash(LOCALS.replace(old, new)) != normalised_hash(LOCALS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("g(a=torso_x)", "g(b=torso_x)"),
        ('g(**{"a": torso_x})', 'g(**{"b": torso_x})'),
        ('g(**dict(zip("a b".split(), (torso_x, 3.0))))', 'g(**dict(zip("b a".split(), (torso_x, 3.0))))'),
    ],
)
def test_parameters_that_are_passed_by_name_keep_it(one: str, other: str) -> None:
    head = "def g(a=1.0, b=2.0):\n    return a - b\n"
    swapped = "def g(b=1.0, a=2.0):\n    return b - a\n"
    tail = "def compute_reward(torso_x):\n    return {}, {{}}\n"
    assert normalised_hash(head + tail.format(one)) != normalised_hash(swapped + tail.format(one))
    assert normalised_hash(head + tail.format(one)) != normalised_hash(head + tail.format(other))


@pytest.mark.parametrize(
    "body",
    [
        "speed = torso_x\n    return speed, locals()",
        "def speed(): return torso_x\n    return speed(), {speed.__name__: speed()}",
        'def speed(): return torso_x\n    return speed(), {getattr(speed, "__na" + "me__"): speed()}',
        'def speed(): return torso_x\n    return speed(), {attrgetter("__name__")(speed): speed()}',
        'def speed(): return torso_x\n    return speed(), {"{0.__name__}".format(speed): speed()}',
        "global speed\n    speed = torso_x\n    return speed, {}",
        "class Terms:\n        speed = 1.0\n    return torso_x * Terms.speed, {}",
    ],
)
def test_a_name_that_can_be_looked_up_by_its_spelling_stays(body: str) -> None:
    code = f"def compute_reward(torso_x):\n    {body}\n"
    assert normalised_hash(code) != normalised_hash(code.replace("speed", "pace"))


class Counted(set[str]):
    """Counts the elements that are looked at or copied."""

    touched = 0

    def __contains__(self, name: object) -> bool:
        Counted.touched += 1
        return super().__contains__(name)

    def __or__(self, other: AbstractSet[Any]) -> set[Any]:
        Counted.touched += len(self) + len(other)
        return super().__or__(other)

    __ror__ = __or__


def test_naming_the_locals_of_a_large_program_is_work_in_proportion_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = renaming._known_elsewhere
    monkeypatch.setattr(renaming, "_known_elsewhere", lambda tree: Counted(known(tree)))
    monkeypatch.setattr(Counted, "touched", 0)
    constants = "".join(f"C{number} = 0\n" for number in range(2000))
    helpers = "".join(f"def f{number}(x): y = x; return y\n" for number in range(1000))
    locals_ = "".join(f"    v{number} = 0\n" for number in range(2000))
    code = f"{constants}{helpers}def compute_reward(torso_x):\n{locals_}    return torso_x, {{}}\n"
    assert check_reward_code(code, VARIABLES) is None
    normalised_hash(code)
    assert 4000 <= Counted.touched <= 3 * 5000


def test_a_name_that_shadows_one_of_the_module_is_told_from_it() -> None:
    code = (
        "LOW = 0.1\ndef compute_reward(torso_x):\n    {0} = [LOW for {0} in (1, 2)]\n    return torso_x * {1}, {{}}\n"
    )
    assert normalised_hash(code.format("LOW", "LOW")) != normalised_hash(code.format("a", "LOW"))
    assert normalised_hash(code.format("a", "a")) == normalised_hash(code.format("b", "b"))
    assert normalised_hash(code.format("a", "a")) != normalised_hash(code.format("a", "LOW"))


@pytest.mark.parametrize("number", ["0x" + "f" * 4000, "1" + "0" * 4000])
def test_an_integer_too_long_to_be_written_is_refused_and_hashed_all_the_same(number: str) -> None:
    code = GOOD + f"\nHUGE = {number}\n"
    failure = check_reward_code(code, VARIABLES)
    assert failure is not None
    assert "1024 bits" in failure.message
    assert failure.line == len(code.splitlines())
    assert normalised_hash(code) != normalised_hash(GOOD)


@pytest.mark.parametrize(
    "line",
    ["import os", "import gym.spaces", "from isaacgym import gymapi", "from . import rewards", "import torch, sys"],
)
def test_an_import_that_a_reward_cannot_rely_on_is_named_with_its_line(line: str) -> None:
    found = check_reward_code(GOOD.replace("import torch\n", f"import torch\n{line}\n", 1), VARIABLES)
    assert isinstance(found, Failure)
    assert found.line == 2
    assert found.message.startswith("imports ")
    assert "a reward may import collections, dataclasses" in found.message


def test_what_rewards_usually_import_is_welcome() -> None:
    usual = "from __future__ import annotations\nimport math\nimport numpy as np\nimport torch.nn.functional as F\n"
    assert check_reward_code(usual + GOOD, VARIABLES) is None
