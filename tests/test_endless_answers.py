"""No answer of a model, however long and of whatever shape, keeps the search from going on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import endless_cases
import pytest
from llm_cases import answer, code, search, small_run

from eureka_agent.contract.reward_code import MAX_BYTES
from eureka_agent.llm.bounded import LONGEST_READ, SHORT, stuck
from eureka_agent.llm.extract import Extracted, extract_code
from eureka_agent.llm.prompting import told_back
from eureka_agent.llm.reasons import told
from eureka_agent.llm.review import commentary_of, verdict_of
from eureka_agent.report.thoughts import prose
from eureka_sandbox.protocol import Failure, Verdict


@pytest.mark.timeout(600)
@pytest.mark.parametrize("reader", endless_cases.READERS)
def test_reading_takes_a_time_that_grows_with_the_length_alone(reader: str) -> None:
    ended = subprocess.run([sys.executable, endless_cases.__file__, reader], capture_output=True, text=True)
    read = ended.stdout.splitlines()
    assert ended.returncode == 0, f"{reader} hangs on or fails at {read[-1:]}: {ended.stderr[-1000:]}"
    assert len(read) >= 30


def test_an_answer_without_end_costs_its_candidate_and_the_search_goes_on(tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    answers.mkdir()
    for name in ("g0c0.md", "g0c0.repair.md"):
        (answers / name).write_text("<think>" * 57_000)
    for name in ("g0c1", "g1c0", "g1c1"):
        (answers / f"{name}.md").write_text(answer(name))
    run = small_run(tmp_path / "run", f"scripted:{answers}")
    assert search(run).arm("candidate").policy
    failure = run.candidate("g0c0").failure
    assert failure is not None
    assert failure.message == "the model says the same again and again; the answer is empty"
    sent = run.attempts("g0c0", "repair")[0].prompt
    assert len(run.blob(sent)) < 100_000, "what nobody can read is not sent back whole"


def test_an_answer_that_is_too_long_is_not_read_and_told_so() -> None:
    found = extract_code(answer("x") + "and so on\n" * (LONGEST_READ // 10))
    assert isinstance(found, Failure)
    assert "1,000 kB long, and at most 1,000 kB are read; answer with a few sentences" in found.message
    assert verdict_of("1. a\nVerdict: revise\n" + " " * LONGEST_READ) == ""


def test_long_thoughts_before_the_code_are_no_loop_and_not_too_long() -> None:
    thoughts = "\n".join(f"{n}: pay {n % 97} for speed, {n % 89} for height" for n in range(15_000))
    found = extract_code(f"<think>{thoughts}</think>\n{answer('x')}")
    assert len(thoughts) > 500_000
    assert isinstance(found, Extracted)
    assert found.code == code("x")


def test_a_loop_that_ends_in_code_after_all_is_forgiven() -> None:
    found = extract_code("let me think again\n" * 5_000 + answer("x"))
    assert isinstance(found, Extracted)
    assert found.code == code("x")


@pytest.mark.parametrize("padding", ["let me think again\n" * 5_000, "." * 20_000, "| 0 | 0 | 0 |\n" * 2_000])
def test_the_code_behind_a_loop_is_told_back_to_who_is_to_mend_it(padding: str) -> None:
    told = told_back(padding + answer("x"))
    assert code("x").strip() in told
    assert len(told) < SHORT + 2 * len(answer("x"))


@pytest.mark.parametrize(
    "words",
    [
        "".join(f"## Step {n}\n\nSome words on it.\n\n" for n in range(300)),
        "".join(f"## Step {n}\n\n" + "Some words on it.\n" * 900 for n in range(5)),
    ],
)
def test_code_without_a_fence_is_found_behind_many_headings_and_much_prose(words: str) -> None:
    found = extract_code(f"{words}{code('x')}\nThat is all.\n")
    assert isinstance(found, Extracted)
    assert "Some words" not in found.code
    compile(found.code, "reward.py", "exec")


def test_much_text_without_a_fence_is_not_searched_for_code() -> None:
    words = "\n".join(f"word {n} of many" for n in range(MAX_BYTES // 10))
    found = extract_code(words + "\n" + code("x"))
    assert isinstance(found, Failure)
    assert "no code block, only " in found.message


def test_code_longer_than_a_reward_may_be_is_told_so_and_not_parsed() -> None:
    found = extract_code(f"```python\n{code('x')}{'a = 1  # and so on' * 6_000}\n```\n")
    assert isinstance(found, Extracted), "the check of the code says what is wrong"


def test_the_number_of_a_character_may_have_any_number_of_digits() -> None:
    found = extract_code(f"&#{'1' * 5_000};\n{answer('x')}")
    assert isinstance(found, Extracted)
    assert isinstance(extract_code(f"&#{'1' * 5_000};\ndef compute_reward(x): return x, {{}}"), Extracted)


def test_honest_answers_are_far_from_a_loop() -> None:
    folder = Path(__file__).parents[1]
    answers = sorted((folder / "evaluation/bench/answers").rglob("*.py"))
    assert len(answers) >= 64
    texts = [path.read_text() for path in [*answers, *sorted((folder / "eureka_agent").rglob("*.py"))]]
    assert not any(stuck(text) or told_back(text) != text for text in texts)
    assert stuck("so we pay for speed, and " * 1000)
    assert len(told_back("a" * 100_000)) < SHORT + 10


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a <!-- b --> c <!-- d -- > e --> f", "a  c  f"),
        ("a <!--> b --> c", "a  c"),
        ("a <!-- b", "a <!-- b"),
        ("a --> b <!-- c --> d", "a --> b  d"),
        ("<!-- <!-- a --> b -->", "b -->"),
    ],
)
def test_comments_are_left_out_of_the_words(text: str, words: str) -> None:
    assert prose(text) == words


@pytest.mark.parametrize(
    "thoughts",
    [
        "<think>a</THINK>",
        "<think>a<think>b</think>c</think>",
        "<think>a</thinking>b</think>",
        "<reasoning>a<think>b</reasoning>",
        "</think>",
    ],
)
def test_thoughts_end_where_their_own_tag_does(thoughts: str) -> None:
    found = extract_code(f"```python\nold = 1\n```\n{thoughts}\n{answer('x')}")
    assert isinstance(found, Extracted)
    assert found.code == code("x")


def test_items_and_verdicts_are_found_below_empty_lines() -> None:
    said = "\n\n \n  - too slow\n\n\t2)   too high \n*\n\nbare\n\n\n** Verdict:\n\n revise"
    assert verdict_of(said) == "1. too slow\n2. too high\n3. bare"


def test_of_a_commentary_that_hides_much_the_beginning_is_shown() -> None:
    assert commentary_of("\u202e" * 10_000).startswith("⟨U+202E⟩⟨U+202E⟩")


def test_only_names_that_stand_in_the_code_are_told_however_many_there_are() -> None:
    def words(name: str) -> str:
        return told(
            Failure(verdict=Verdict.RUNTIME_ERROR, message=f"NameError: name '{name}' is not defined"), "speed = up"
        )

    assert "'speed'" in words("speed")
    assert "is not defined" not in words("secret")
    assert "is not defined" not in words("")
