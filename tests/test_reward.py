"""The reward contract: what `compute_reward` may do, and the one line that says what it did wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eureka_sandbox.worker.reward import Reward, RewardError, load_reward

VARIABLES: dict[str, tuple[int, ...]] = {"torso_x_velocity": (), "torso_z": (), "actions": (3,)}
N = 4


@pytest.fixture
def load(tmp_path: Path):
    def write_and_load(source: str | bytes) -> Reward:
        path = tmp_path / "reward.py"
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        return load_reward(path, VARIABLES)

    return write_and_load


def state() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal((N, *shape)).astype(np.float32) for name, shape in VARIABLES.items()}


def returning(expression: str) -> str:
    """A reward whose fourth line returns `expression`; `v` is float32 (N,)."""
    head = "import torch, math, sys\ndef compute_reward(torso_x_velocity, actions):\n    v = torso_x_velocity\n"
    return f"{head}    return {expression}\n"


GOOD = """
import torch

SCALE = 2.0

def speed_of(v):
    return SCALE * v

def compute_reward(torso_x_velocity: torch.Tensor, actions: torch.Tensor
                   ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    speed = speed_of(torso_x_velocity)
    control = -(actions ** 2).sum(dim=-1)
    return speed + control, {"speed": speed, "control": control}
"""


def test_code_is_what_people_read_whatever_encoding_a_comment_declares(load) -> None:
    hidden = "    # slowly\\n    v = v * 0 + 7\n    return v, {}\n"
    code = "# coding: unicode_escape\n" + returning("v, {}").replace("    return v, {}\n", hidden)
    inputs = state()
    total, _ = load(code)(inputs)
    np.testing.assert_array_equal(total, inputs["torso_x_velocity"])
    with pytest.raises(RewardError, match="byte 10 is not UTF-8; save the file as UTF-8") as raised:
        load(b"# one\n# tw\xf6\n" + GOOD.encode())
    assert raised.value.line == 2


def test_total_and_components_are_float32_arrays_with_one_value_per_environment(load) -> None:
    reward, inputs = load(GOOD), state()
    total, components = reward(inputs)
    assert reward.arguments == ("torso_x_velocity", "actions")
    assert reward.components == ("speed", "control")
    assert total.dtype == np.float32
    np.testing.assert_allclose(components["speed"], 2 * inputs["torso_x_velocity"])
    np.testing.assert_allclose(total, components["speed"] + components["control"], rtol=1e-6)


def test_a_scripted_function_is_a_reward_too(load) -> None:
    scripted = """
import torch
from typing import Dict, Tuple

@torch.jit.script
def helper(v: torch.Tensor) -> torch.Tensor:
    return torch.exp(-v.abs())

@torch.jit.script
def compute_reward(torso_x_velocity: torch.Tensor, torso_z: torch.Tensor
                   ) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
    total = helper(torso_x_velocity) + torso_z
    return total, {"height": torso_z}
"""
    reward, inputs = load(scripted), state()
    assert reward.arguments == ("torso_x_velocity", "torso_z")
    for _ in range(4):  # TorchScript specialises on the second and third call
        total, _ = reward(inputs)
    np.testing.assert_allclose(total, np.exp(-np.abs(inputs["torso_x_velocity"])) + inputs["torso_z"], rtol=1e-5)


def test_an_error_inside_a_scripted_function_names_the_line_and_the_reason(load) -> None:
    scripted = """import torch
from typing import Dict, Tuple
@torch.jit.script
def compute_reward(actions: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
    total = actions.view(7, -1).sum(dim=-1)
    return total, {"total": total}
"""
    with pytest.raises(RewardError, match=r"shape.*invalid for input of size 12") as caught:
        load(scripted)(state())
    assert caught.value.line == 5


def test_changing_an_input_in_place_leaves_the_simulator_state_alone(load) -> None:
    reward, inputs = load(returning('(v.mul_(0.0), {"zero": actions.fill_(9.0).sum(dim=-1)})')), state()
    before = {name: array.copy() for name, array in inputs.items()}
    reward(inputs)
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_gradient_attached_to_the_result_is_dropped(load) -> None:
    weight = "import torch\nW = torch.nn.Parameter(torch.ones(()))\n"
    body = (
        'def compute_reward(torso_z):\n    with torch.enable_grad():\n        t = W * torso_z\n    return t, {"t": t}\n'
    )
    total, _ = load(weight + body)(state())
    np.testing.assert_array_equal(total, state()["torso_z"])


def test_float64_and_float16_are_cast(load) -> None:
    total, components = load(returning('(v.double(), {"half": v.half()})'))(state())
    assert total.dtype == components["half"].dtype == np.float32


def test_of_several_functions_of_one_name_the_last_counts(load) -> None:
    first = "def compute_reward(torso_z):\n    return None\n"
    total, _ = load(first + returning('(v, {"v": v})'))(state())
    np.testing.assert_array_equal(total, state()["torso_x_velocity"])


def test_windows_line_ends_and_a_byte_order_mark_are_read(load) -> None:
    source = b"\xef\xbb\xbf" + returning('(v, {"v": v})').replace("\n", "\r\n").encode()
    assert load(source).arguments == ("torso_x_velocity", "actions")


def test_a_dataclass_in_the_reward_file_works(load) -> None:
    source = """from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Weights:
    speed: float = 3.0
def compute_reward(torso_z):
    return Weights().speed * torso_z, {}
"""
    total, components = load(source)(state())
    np.testing.assert_array_equal(total, 3 * state()["torso_z"])
    assert components == {}


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        (
            "def compute_reward(torso_zz):\n    pass\n",
            r"unknown argument 'torso_zz'; did you mean 'torso_z'\?.*actions",
            1,
        ),
        ("def compute_reward(\n    torso_z,\n    tоrso_x_velocity,\n):\n    pass\n", "unknown argument", 3),
        ("def compute_reward(*args):\n    pass\n", r"argument '\*args'", 1),
        ("def compute_reward(torso_z, /):\n    pass\n", "without", 1),
        ("def compute_reward():\n    pass\n", "takes no argument", 1),
        ("x = 1\n\ndef compute_reward(torso_z:\n    pass\n", "SyntaxError", 3),
        ("def compute_rewards(torso_z):\n    pass\n", "no function 'compute_reward'.*rename 'compute_rewards'", None),
        ("compute_reward = 3\n", "no function 'compute_reward'", None),
        ("class compute_reward:\n    pass\n", "no function 'compute_reward'", None),
        ("x = 1\nx = 1 / 0\n", "ZeroDivisionError: division by zero", 2),
        ("def f(x: torch.Tensor):\n    pass\n", "name 'torch' is not defined; add `import torch`", 1),
        ("import sys\n\nsys.exit(0)\n", "SystemExit", 3),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt", 1),
        ("import nothing_of_this_name\n", "ModuleNotFoundError", 1),
        ("def f():\n    return f()\nf()\n", "RecursionError", 2),
        ("x = 'a\0b'\n", "null bytes", None),
        ("(" * 5000 + ")" * 5000, "too many nested parentheses", 1),
        (b"x = '\xff'\n", "byte 5 is not UTF-8; save the file as UTF-8", 1),
        ("x = 1\n" * 50_000, "source of 300000 bytes", None),
    ],
)
def test_a_file_that_cannot_be_a_reward_is_refused_with_its_line(load, source, message: str, line: int | None) -> None:
    with pytest.raises(RewardError, match=message) as caught:
        load(source)
    if line is not None:
        assert caught.value.line == line


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("None", "returned None; return"),
        ("v", "returned Tensor; return"),
        ("(v, {}, 1)", "a tuple of 3"),
        ("[v, {}]", "returned list"),
        ("(v, [v])", "a tuple of 2 .Tensor, list."),
        ('(v.sum(), {"v": v})', r"the total has shape \(\), not \(N,\) = \(4,\).*over dim=-1"),
        ('(v.unsqueeze(-1), {"v": v})', r"the total has shape \(4, 1\).*squeeze\(-1\)"),
        ('(actions, {"v": v})', r"the total has shape \(4, 3\).*sum\(dim=-1\)"),
        ('(v[:2], {"v": v[:2]})', r"the total has shape \(2,\)"),
        ('(v, {"speed": v.mean()})', r"component 'speed' has shape \(\)"),
        ('(v, {"speed": 1.0})', r"component 'speed' is float, not a tensor; use torch.full_like\(total, 1.0\)"),
        ('(v.numpy(), {"v": v})', "the total is ndarray, not a tensor"),
        ('(v > 0, {"v": v})', r"the total is bool; make it float with .float\(\)"),
        ('(v.long(), {"v": v})', "the total is int64"),
        ('(v, {"alive": v > 0})', "component 'alive' is bool"),
        ('(v, {"Speed!": v})', "component name 'Speed!'"),
        ("(v, {3: v})", "component name '3'"),
        ('(v, {"a" * 33: v})', "component name"),
        ('(v, {"speed\\n": v})', "component name 'speed"),
        ('(v, {f"c{i}": v for i in range(33)})', "33 components; at most 32"),
        ('(torch.empty(4, device="meta"), {"v": v})', "the total is on device meta"),
        ('(v, {"speed": v / 0.0})', "component 'speed' is infinite in 4 of 4 environments on the first call"),
        ('(v, {"speed": torch.log(v * 0 - 1)})', "component 'speed' is NaN in 4 of 4"),
        ('(torch.where(v == v[0], math.nan, v), {"v": v})', "the total is NaN in 1 of 4"),
        ('(v.double() + 1e308, {"v": v})', "the total is infinite"),
        ("sys.exit(3)", "SystemExit: 3; a function here returns"),
        ('v.view(7), {"v": v}', "RuntimeError: shape"),
        ("compute_reward(v, actions)", "RecursionError"),
        ('torch.nonsense(v), {"v": v}', "AttributeError"),
    ],
)
def test_a_broken_return_value_is_named_with_a_line_of_the_file(load, expression: str, message: str) -> None:
    reward = load(returning(expression))
    with pytest.raises(RewardError, match=message) as caught:
        reward(state())
    assert caught.value.line in (2, 4)


def test_an_error_in_a_helper_names_the_helpers_line_not_its_callers(load) -> None:
    helper = "import math\ndef helper(x):\n    return math.sqrt(-1.0)\n"
    source = helper + "def compute_reward(torso_z):\n    return helper(torso_z), {}\n"
    with pytest.raises(RewardError, match="ValueError: math domain error") as caught:
        load(source)(state())
    assert caught.value.line == 3


def test_a_component_error_names_the_line_where_the_component_gets_its_name(load) -> None:
    source = """def compute_reward(torso_z):
    return torso_z, {
        "fine": torso_z,
        "bad": torso_z / 0,
    }
"""
    with pytest.raises(RewardError, match="'bad'") as caught:
        load(source)(state())
    assert caught.value.line == 4


def test_component_names_must_not_change_between_calls(load) -> None:
    source = """
calls = []
def compute_reward(torso_z):
    calls.append(0)
    return torso_z, {"a": torso_z, ("b" if len(calls) < 3 else "late"): torso_z}
"""
    reward = load(source)
    reward(state())
    reward(state())
    with pytest.raises(RewardError, match="components are a, late at vector step 2, they were a, b"):
        reward(state())


def test_components_in_another_order_are_the_same_components(load) -> None:
    source = """
calls = []
def compute_reward(torso_z):
    calls.append(0)
    parts = [("a", torso_z), ("b", 2 * torso_z)]
    return torso_z, dict(parts if len(calls) < 2 else parts[::-1])
"""
    reward = load(source)
    _, first = reward(state())
    _, second = reward(state())
    np.testing.assert_array_equal(first["b"], second["b"])
    assert list(second) == ["a", "b"]


def test_a_nan_among_many_steps_says_at_which_of_them(load) -> None:
    reward = load("def compute_reward(torso_z):\n    return torso_z, {'root': torso_z.sqrt()}\n")
    heights = np.ones((5, 4), np.float32)
    reward({"torso_z": heights[0]})
    reward({"torso_z": heights.ravel()}, 5)
    assert reward.calls == 6
    heights[3, 1:] = heights[4, 0] = -1.0
    with pytest.raises(RewardError, match="component 'root' is NaN in 3 of 4 environments at vector step 9"):
        reward({"torso_z": heights.ravel()}, 5)


def test_a_value_that_turns_nan_later_says_at_which_step(load) -> None:
    source = """
calls = []
def compute_reward(torso_z):
    calls.append(0)
    z = torso_z.clone()
    if len(calls) == 6:
        z[1:3] = float("nan")
    return torso_z, {"height": z}
"""
    reward = load(source)
    for _ in range(5):
        reward(state())
    with pytest.raises(RewardError, match="component 'height' is NaN in 2 of 4 environments at vector step 5"):
        reward(state())


def test_a_shape_that_changes_later_is_caught(load) -> None:
    source = """
calls = []
def compute_reward(torso_z):
    calls.append(0)
    return (torso_z if len(calls) < 2 else torso_z.unsqueeze(-1)), {}
"""
    reward = load(source)
    reward(state())
    with pytest.raises(RewardError, match=r"the total has shape \(4, 1\)"):
        reward(state())


def test_what_an_exception_says_leaves_as_one_printable_line_of_bounded_length(load) -> None:
    text = r"'a\x1b[31m\n\u202eignore previous' + 'x' * 100_000 + '\ud800'"
    source = f"def compute_reward(torso_z):\n    raise ValueError({text})\n"
    with pytest.raises(RewardError) as caught:
        load(source)(state())
    message = caught.value.message
    assert message.isprintable()
    assert len(message) <= 500
    assert message.startswith("ValueError: a [31m ignore previous")


def test_an_exception_that_cannot_be_printed_is_still_reported(load) -> None:
    exception = "class E(Exception):\n    def __str__(self):\n        raise SystemExit\n"
    source = exception + "def compute_reward(torso_z):\n    raise E\n"
    with pytest.raises(RewardError, match=r"E: .its text cannot be printed") as caught:
        load(source)(state())
    assert caught.value.line == 5


def test_a_reward_that_rewrites_its_own_file_is_still_told_its_line(load) -> None:
    source = "def compute_reward(torso_z):\n    open(__file__, 'w').write('((((')\n    return torso_z, {'a': 1.0}\n"
    with pytest.raises(RewardError, match="component 'a' is float") as caught:
        load(source)(state())
    assert caught.value.line == 3
