"""Code is found however a model wraps it, and code that was cut off is never used."""

from __future__ import annotations

import html
import json

import pytest

from eureka_agent.contract.reward_code import normalised_source, undefined_names
from eureka_agent.llm.extract import Extracted, extract_code
from eureka_sandbox.protocol import Failure

CODE = '''"""Pays forward speed."""

import torch


def compute_reward(torso_x_velocity, actions):
    fast = torso_x_velocity > 1.0
    slow = (torso_x_velocity < 0.5) & ~fast
    forward = torch.where(slow, 0.5 * torso_x_velocity, torso_x_velocity)
    return forward, {"forward": forward}
'''
DRAFT = "import torch\n\ndef compute_reward(actions):\n    return actions.sum(-1), {}\n"
FENCED = f"```python\n{CODE}```\n"
HELPER = "import torch\n\ndef squash(x):\n    return torch.tanh(x)\n"
MAIN = "def compute_reward(torso_z):\n    up = squash(torso_z)\n    return up, {'up': up}\n"

USABLE = {
    "a fence": FENCED,
    "a fence between words": f"**Design.** Speed first.\n\n{FENCED}\nThis should work well!\n",
    "py as language": FENCED.replace("python", "py"),
    "no language": FENCED.replace("python", ""),
    "Python with attributes": FENCED.replace("python", 'Python {title="reward.py"}'),
    "tildes": FENCED.replace("```", "~~~"),
    "four backticks": FENCED.replace("```", "````"),
    "CRLF": FENCED.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + FENCED,
    "fence in a list": "1. Code:\n\n" + "".join(f"   {line}\n" if line else "\n" for line in FENCED.splitlines()),
    "fence in a quote": "".join(f"> {line}\n" for line in FENCED.splitlines()),
    "a stray fence after it": FENCED + "\nDone.\n```\n",
    "thoughts": f"<think>\nMaybe\n```python\n{DRAFT}```\n</think>\n{FENCED}",
    "thoughts in capitals": f"<THINKING>so what</THINKING>\n{FENCED}",
    "thoughts whose start is lost": f"I might write\n```python\n{DRAFT}```\n</think>\n\n{FENCED}",
    "a draft first": f"Draft:\n```python\n{DRAFT}```\nBetter:\n{FENCED}",
    "a usage note after it": FENCED + "Called as\n```python\ntotal, parts = env.reward(state)\n```\n",
    "a signature after it": FENCED + "Its form:\n```python\ndef compute_reward(torso_x_velocity, actions): ...\n```\n",
    "a shell block before it": "```bash\npip install torch\n```\n" + FENCED,
    "bare code": CODE,
    "bare code after words": "Here is my reward function:\n\n" + CODE,
    "bare code before words": CODE + "\nThis rewards speed, and it's dense: good.\n",
    "bare code between words": "Sure! I'd do:\n\n" + CODE + "\nHope it helps.\n",
    "bare code before a word that parses": CODE + "\nDone\n",
    "JSON": json.dumps({"thought": "speed", "code": CODE}),
    "JSON with a fence inside": json.dumps({"thought": "speed", "answer": {"reward": FENCED}}),
    "JSON in a list": json.dumps([{"type": "text", "text": FENCED}]),
    "JSON in a fence": f"Here:\n```json\n{json.dumps({'code': CODE}, indent=2)}\n```\n",
    "JSON with raw line breaks": '{"code": "' + CODE.replace('"', '\\"') + '"}',
    "HTML entities": FENCED.replace(CODE, html.escape(CODE)),
    "HTML entities, bare": html.escape(CODE),
    "python3 as language": FENCED.replace("python", "python3"),
    "PYTHON as language": FENCED.replace("python", "PYTHON"),
    "language in braces": FENCED.replace("python", "{python}"),
    "lone carriage returns": FENCED.replace("\n", "\r"),
    "non-breaking spaces as indentation": FENCED.replace("    ", "\u00a0\u00a0\u00a0\u00a0"),
    "a zero-width space in the words": "Sure\u200b!\n" + FENCED,
    "an HTML code element": '<pre><code class="language-python">' + html.escape(CODE) + "</code></pre>\n",
    "tags around bare code": f"<reward>\n{CODE}</reward>\n",
    "a code tag around a fence": f"<answer>\n{FENCED}</answer>\n",
    "details around a fence": f"<details><summary>code</summary>\n\n{FENCED}\n</details>\n",
    "arguments of a tool call": json.dumps({"name": "submit", "arguments": json.dumps({"code": CODE})}),
    "JSON after words": "Here you go: " + json.dumps({"code": CODE}),
    "JSON lines": json.dumps({"thought": "speed"}) + "\n" + json.dumps({"code": CODE}) + "\n",
    "reasoning tags": f"<reasoning>Maybe speed.</reasoning>\n{FENCED}",
    "the same block twice": FENCED + "Again:\n" + FENCED,
    "a file name before it": "`reward.py`:\n\n" + FENCED,
    "an indented code block": "My code:\n\n"
    + "".join(f"    {line}\n" if line else "\n" for line in CODE.splitlines())
    + "\nDone.\n",
    "a fence in a nested list": "- a\n  - b\n\n"
    + "".join(f"      {line}\n" if line else "\n" for line in FENCED.splitlines()),
    "no line feed at the end": FENCED.rstrip(),
    "an older version after a heading": f"### v1\n```python\n{DRAFT}```\n### Final\n{FENCED}",
    "code escaped twice": FENCED.replace(CODE, CODE.replace("\n", "\\n") + "\n"),
    "emoji": "🚀🚀\n" + FENCED + "🎉",
    "a fence opened twice": "```\n" + FENCED,
    "channel markers": "<|channel|>final<|message|>" + FENCED + "<|return|>",
    "end of text token": FENCED.rstrip() + "<|im_end|>",
    "NUL bytes": FENCED.replace("forward speed", "forward\0 speed"),
}

UNUSABLE = {
    "nothing": ("", "stop", "empty"),
    "white space": (" \n\t\n", "stop", "empty"),
    "prose": ("I would reward speed and punish falling.", "stop", "no code block that defines compute_reward"),
    "another function": (
        FENCED.replace("compute_reward", "reward"),
        "stop",
        "no code block that defines compute_reward",
    ),
    "only a call": ("```python\nx = compute_reward(s)\n```", "stop", "no code block that defines compute_reward"),
    "an open fence": (f"```python\n{CODE}", "stop", "ends inside its code block"),
    "an open fence after a draft": (
        f"```python\n{DRAFT}```\nNow:\n```python\nimport torch\nA = 1\nB = 2",
        "stop",
        "ends inside",
    ),
    "length with an open fence": (f"```python\n{CODE}", "length", "ends inside its code block"),
    "length in bare code": (CODE, "max_tokens", "cut off before the code was complete"),
    "length in prose": ("Let me think about the speed", "length", "cut off before the code was complete"),
    "length in a thought": (f"<think>\n```python\n{CODE}```\n", "length", "cut off before any code"),
    "only a thought": (f"<think>{FENCED}</think>", "stop", "empty"),
    "a refusal": ("I can't help with that.", "refusal", "refused"),
    "a filter": ("", "content_filter", "refused"),
    "broken JSON": ('{"code": "def compute', "stop", "no code block"),
    "deep JSON": ("[" * 100_000, "stop", "no code block"),
    "many objects": ('{"a": "b"} ' * 10_000, "stop", "no code block"),
    "a length-cut object": ('{"code": "' + CODE[:60].replace('"', "'").replace("\n", "\\n"), "length", "cut off"),
    "only its name": ("The function compute_reward is easy to write.", "stop", "no code block"),
    "an import of it": ("```python\nfrom rewards import compute_reward\n```\n", "stop", "no code block"),
    "a context overflow": ("def compute_reward(", "model_context_window_exceeded", "cut off"),
    "a shell session": ("```bash\npython reward.py\n```\n", "stop", "no code block"),
}


@pytest.mark.parametrize("name", USABLE)
def test_the_function_is_found_in(name: str) -> None:
    found = extract_code(USABLE[name])
    assert isinstance(found, Extracted), found
    assert found.code == CODE


@pytest.mark.parametrize("name", UNUSABLE)
def test_nothing_is_used_of(name: str) -> None:
    text, finish_reason, message = UNUSABLE[name]
    found = extract_code(text, finish_reason)
    assert isinstance(found, Failure), found
    assert message in found.message


def test_a_complete_block_counts_even_if_the_words_after_it_were_cut_off() -> None:
    found = extract_code(FENCED + "This reward pays for", "length")
    assert isinstance(found, Extracted)
    assert found.code == CODE


def test_helpers_in_an_earlier_block_are_joined() -> None:
    found = extract_code(f"Helpers:\n```python\n{HELPER}```\nand\n```python\n{MAIN}```\n")
    assert isinstance(found, Extracted)
    assert found.rule == "fence+joined"
    assert found.code.index("def squash") < found.code.index("def compute_reward")
    assert not undefined_names(found.code)


def test_forgotten_imports_are_added_below_docstring_and_future() -> None:
    bare = "def compute_reward(x: Tensor) -> Tuple[Tensor, Dict]:\n    up = torch.tanh(x)\n    return up, {'up': up}\n"
    found = extract_code(f"```python\n{bare}```")
    assert isinstance(found, Extracted)
    assert found.rule == "fence+import"
    assert not undefined_names(found.code)
    assert found.code.endswith(bare)
    titled = extract_code(f'```python\n"""Up."""\nfrom __future__ import annotations\n\n{bare}```')
    assert isinstance(titled, Extracted)
    assert titled.code.startswith('"""Up."""\nfrom __future__ import annotations\n\nimport torch\n')
    compile(titled.code, "reward.py", "exec")


def test_a_constant_before_bare_code_is_kept() -> None:
    source = "SCALE = 3.0\n\n\n@decorated\n" + MAIN
    found = extract_code(f"My answer:\n\n{source}")
    assert isinstance(found, Extracted)
    assert found.code == source


def test_bare_code_with_a_syntax_error_is_kept_so_that_the_mistake_can_be_named() -> None:
    found = extract_code("Here you are:\n\nimport torch\n\ndef compute_reward(torso_z):\n    return (torso_z, {}\n")
    assert isinstance(found, Extracted)
    assert found.code.startswith("import torch")


@pytest.mark.parametrize("cut", range(0, len(FENCED) - 4, 7))
def test_no_beginning_of_an_answer_is_taken_for_the_whole(cut: int) -> None:
    for finish_reason in ("length", "stop"):
        assert isinstance(extract_code("Thought.\n\n" + FENCED[:cut], finish_reason), Failure)


def test_code_is_handed_on_with_unix_line_ends() -> None:
    found = extract_code(FENCED.replace("\n", "\r"))
    assert isinstance(found, Extracted)
    assert found.code == normalised_source(CODE)
