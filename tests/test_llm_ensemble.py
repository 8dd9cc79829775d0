"""Names of models, weights, a person's file of models, and who is asked for which candidate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from provider_cases import PRICE, FakeBroker, asking, fast_folder, paid_run, request

from eureka_agent.contract.task import load_task
from eureka_agent.errors import EnvironmentMissing, UsageError
from eureka_agent.llm.ensemble import Ensemble, names_and_weights
from eureka_agent.llm.models_file import load_models
from eureka_agent.llm.prices import longest_answer, price_of
from eureka_agent.llm.providers import check_environment, ensemble_of
from eureka_agent.llm.wire import ModelConfig, Price
from eureka_agent.proposers import asks_providers, joined_models, make_proposer
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings

FILE = """models:
  openai/mine:
    base_url: http://localhost:8000/v1
    price: {input: 0.5, output: 2, cache_read: 0.1}
    max_output_tokens: 4000
    effort: low
  groq/free:
    price: {input: 0, output: 0}
"""


@pytest.fixture(autouse=True)
def no_file_of_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_models_have_names_and_weights() -> None:
    assert names_and_weights("openai/a") == {"openai/a": 1.0}
    assert names_and_weights("openai/a,anthropic/b=2, groq/c/d=0.5") == {
        "openai/a": 1,
        "anthropic/b": 2,
        "groq/c/d": 0.5,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openai/a,b", "'b': expected PROVIDER/MODEL"),
        ("openai/", "'openai/': expected PROVIDER/MODEL"),
        ("openai/a=0", "the weight must be a number above 0"),
        ("openai/a=much", "the weight must be a number above 0"),
        ("openai/a,openai/a", "openai/a: named twice"),
        ("offline,openai/a", "'offline': expected PROVIDER/MODEL"),
    ],
)
def test_a_name_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        names_and_weights(text)


def test_flags_are_joined_and_only_models_of_providers_can_be_mixed(tmp_path: Path) -> None:
    assert joined_models(["openai/a", "anthropic/b=2"]) == "openai/a,anthropic/b=2"
    assert joined_models(["offline"]) == "offline"
    for other in ("offline", "mailbox:box", f"replay:{tmp_path}"):
        with pytest.raises(UsageError, match="only models of providers can be mixed"):
            joined_models(["openai/a", other])
    assert not asks_providers(f"scripted:{tmp_path}/a,b=c/d")
    assert asks_providers("openai/ft:base:me")


def test_a_seed_always_chooses_the_same_model_and_all_are_chosen_by_weight() -> None:
    models = Ensemble([ModelConfig(name="openai/a"), ModelConfig(name="groq/b", weight=3.0)])
    chosen = [models.chosen(seed).name for seed in range(2000)]
    assert chosen == [models.chosen(seed).name for seed in range(2000)]
    assert 0.70 < Counter(chosen)["groq/b"] / 2000 < 0.80


@pytest.fixture
def run() -> Iterator[Run]:
    with fast_folder() as folder, paid_run(folder / "run", model="openai/a,groq/b") as run:
        yield run


def test_the_choice_is_in_the_journal_and_holds_for_every_turn_about_a_candidate(run: Run) -> None:
    models = (ModelConfig(name="openai/a", price=PRICE), ModelConfig(name="groq/b", price=PRICE))
    made = asking(run, FakeBroker(), models=models)
    for number in range(8):
        made.complete(request(f"g0c{number}"))
        made.complete(request(f"g0c{number}", purpose="repair"))
    by_brief = {call.brief: {c.asked for c in run.calls() if c.brief == call.brief} for call in run.calls()}
    assert all(len(asked) == 1 for asked in by_brief.values())
    assert set().union(*by_brief.values()) == {"openai/a", "groq/b"}


def test_the_file_settles_address_price_and_limits_and_flags_go_over_it(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(FILE)
    settings = Settings(model="openai/mine=2,groq/free", models_file=str(tmp_path / "models.yaml"), max_cost=1.0)
    mine, free = ensemble_of(settings).models
    assert (mine.weight, mine.base_url, mine.effort) == (2.0, "http://localhost:8000/v1", "low")
    assert price_of(mine) == Price(input=0.5, output=2, cache_read=0.1)
    assert longest_answer(mine) == 4000
    assert price_of(free) == Price(input=0, output=0)
    over = settings.model_copy(update={"base_url": "http://other:1/v1", "effort": "high"})
    mine, free = ensemble_of(over).models
    assert (mine.base_url, mine.effort, free.base_url) == ("http://other:1/v1", "high", None)


def test_without_a_flag_the_usual_file_is_read_if_it_is_there(tmp_path: Path) -> None:
    assert load_models(None) == {}
    (tmp_path / "config" / "eureka-agent").mkdir(parents=True)
    (tmp_path / "config" / "eureka-agent" / "models.yaml").write_text(FILE)
    assert set(load_models(None)) == {"openai/mine", "groq/free"}
    assert ensemble_of(Settings(model="openai/mine")).models[0].effort == "low"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models:\n  openai/a:\n    price: {input: 1}\n", r":3: models\.openai/a\.price\.output: field required"),
        ("models:\n  openai/a:\n    price: {input: -1, output: 2}\n", r":3: .*price\.input: expected at least 0 .*-1"),
        ("models:\n  openai/a:\n    base-url: x\n", r":3: .*unknown field; did you mean 'base_url'\?"),
        ("models:\n  openai/a:\n    base_url: localhost\n", r":3: .*an address begins with http"),
        ("models:\n  openai/a:\n    price: {input: 1, output: 2, cached: 3}\n", r":3: .*unknown field; .*cache_read"),
        ("openai/a: {}\n", r":1: models: field required"),
        ("- a\n", r":1: models: expected a mapping"),
        ("models:\n  a: [\n", r":\d+: not readable as YAML"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_models(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"models file .*absent\.yaml: No such file"):
        load_models(tmp_path / "absent.yaml")


def test_a_cost_cap_without_a_price_is_refused_with_the_two_ways_to_fix_it() -> None:
    with pytest.raises(UsageError, match=r"price of openai/new is not known.*--models-file.*price: .*--max-tokens N"):
        make_proposer("openai/new", load_task("hopper_forward"), settings=Settings(max_cost=1.0))


def test_a_server_on_this_machine_is_not_taken_to_be_free() -> None:
    settings = Settings(model="openai/local", base_url="http://127.0.0.1:11434/v1", max_cost=1.0)
    with pytest.raises(UsageError, match="price of openai/local is not known"):
        ensemble_of(settings)


def test_an_address_for_models_that_are_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="--base-url http://x: it is the address of openai/ models"):
        ensemble_of(Settings(model="anthropic/a", base_url="http://x"))


def test_a_missing_key_is_named_before_a_run_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(EnvironmentMissing, match="openai/a: set OPENAI_API_KEY"):
        check_environment(Settings(model="openai/a"))
    check_environment(Settings(model="openai/a", base_url="http://127.0.0.1:8000/v1"))


def test_a_name_without_a_provider_says_how_models_are_named() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'gpt-5'; did you mean openai/gpt-5\? there is PROVIDER/MODEL"):
        make_proposer("gpt-5", load_task("hopper_forward"))
