"""What is wrong with models, caps and flags is said before a run exists, in words that name the flag."""

from __future__ import annotations

from pathlib import Path

import pytest

from eureka_agent.cli.common import build_settings
from eureka_agent.contract.task import load_task
from eureka_agent.errors import EnvironmentMissing, UsageError
from eureka_agent.llm.expected import check_room
from eureka_agent.llm.models_file import load_models
from eureka_agent.llm.prices import likely_name
from eureka_agent.llm.providers import check_environment
from eureka_agent.proposers import check_flags, make_proposer
from eureka_agent.runs.run import amended
from eureka_agent.settings import Settings
from eureka_agent.text import flag_of, from_here

TASK = load_task("inverted_pendulum_balance")


def test_a_cap_without_room_for_one_call_is_refused_before_a_run_exists() -> None:
    paid = Settings(model="openai/gpt-4o", max_output_tokens=4000)
    check_room(TASK, paid.model_copy(update={"max_tokens": 100_000, "max_cost": 1.0}))
    with pytest.raises(
        UsageError, match=r"--max-tokens 8000: one call of openai/gpt-4o can come to \d+ tokens"
    ) as told:
        check_room(TASK, paid.model_copy(update={"max_tokens": 8000}))
    assert "(" in str(told.value)
    assert "4000 of the answer" in str(told.value)
    assert "--max-output-tokens" in str(told.value)
    with pytest.raises(UsageError, match=r"--max-cost 0\.01: one call of openai/gpt-4o can come to \$0\.0\d"):
        check_room(TASK, paid.model_copy(update={"max_cost": 0.01}))


def test_a_provider_that_nobody_knows_is_found_before_a_run_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"nobody knows a provider 'mistrall'; did you mean mistral/large\?"):
        check_environment(Settings(model="mistrall/large"))
    with pytest.raises(UsageError, match=r"nobody knows a provider 'zzzz'; a server of one's own .* --base-url"):
        check_environment(Settings(model="zzzz/large"))
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    with pytest.raises(EnvironmentMissing, match="GROQ_API_KEY"):
        check_environment(Settings(model="groq/a"))


@pytest.mark.parametrize(("bare", "whole"), [("gpt-4o", "openai/gpt-4o"), ("no-such-model", ""), ("openai/gpt-4o", "")])
def test_the_whole_name_of_a_model_is_suggested(bare: str, whole: str) -> None:
    assert likely_name(bare) == whole


def test_a_model_without_its_provider_is_asked_back() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'gpt-4o'; did you mean openai/gpt-4o\? there is"):
        make_proposer("gpt-4o", TASK)


@pytest.mark.parametrize(
    "name", ["base_url", "effort", "max_output_tokens", "prompt_tokens", "critic", "max_tokens", "max_cost_per_hour"]
)
def test_what_the_offline_search_would_not_heed_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{flag_of(name)} is for models of a provider, and --model offline asks none"):
        check_flags("offline:uniform".partition(":")[0], {"population": 2, name: 1})
    check_flags("openai/a,groq/b=2", {name: 1})


def test_a_mailbox_heeds_what_shapes_prompts_and_no_money() -> None:
    check_flags("mailbox:here", {"critic": True, "prompt_tokens": 4000})
    with pytest.raises(UsageError, match="--max-cost is for models of a provider, and --model mailbox asks none"):
        check_flags("mailbox:here", {"max_cost": 2.0})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"base_url": "localhost:1"}, "--base-url localhost:1: an address begins with http:// or https://"),
        ({"algorithm": "dqn"}, "--algorithm dqn: expected ppo, sac or td3"),
        ({"max_seconds": -1}, "--max-time -1: expected more than 0"),
        ({"population": 0}, "--population 0: expected at least 1"),
        ({"max_cost": "cheap"}, "--max-cost cheap: expected a number"),
        ({"prompt_tokens": 7}, "--prompt-tokens 7: expected at least 2000"),
    ],
)
def test_a_value_that_cannot_be_is_named_by_its_flag_in_plain_words(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as told:
        build_settings(given)
    assert str(told.value) == words


def test_a_models_file_is_corrected_in_plain_words(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("models:\n  openai/a:\n    price: {input: -1, output: much}\n")
    with pytest.raises(
        UsageError, match=r"models.yaml:3: models\.openai/a\.price\.input: expected at least 0.* \(given: '-1'\)"
    ):
        load_models(path)
    path.write_text("models:\n  openai/a:\n    max_output_tokens: many\n")
    with pytest.raises(UsageError, match=r"expected a whole number \(given: 'many'\)"):
        load_models(path)
    path.write_text("models:\n  openai/a: {store: true}\n  anthropic/b: {store: true}\n")
    with pytest.raises(UsageError, match=r"models.yaml:3: models\.anthropic/b\.store: only openai/ models"):
        load_models(path)


def test_what_is_fixed_in_a_run_is_named_by_its_flag() -> None:
    with pytest.raises(
        UsageError, match=r"--population is fixed when a run begins; a resumed run may change .*--max-time"
    ):
        amended(Settings(), {"population": 3})
    assert amended(Settings(), {"max_seconds": 3.0}).max_seconds == 3.0


def test_a_folder_is_named_as_one_would_type_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_here(tmp_path / "runs" / "a") == "runs/a"
    assert from_here(Path("/elsewhere")) == "/elsewhere"
    assert from_here(tmp_path) == str(tmp_path)
