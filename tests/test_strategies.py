"""Strategies as pure functions of a population: each does what its paper says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from eureka_agent.cli import main
from eureka_agent.contract.task import load_task
from eureka_agent.llm.prompting import Prompts
from eureka_agent.population import Brief, Candidate, Population, Score
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_agent.strategies import STRATEGIES, strategy_of
from eureka_agent.strategies.eureka import Eureka
from eureka_agent.strategies.islands import LARGEST_ISLAND, Islands, settled
from eureka_agent.strategies.map_elites import MapElites, archive
from eureka_agent.strategies.zero_shot import ZeroShot
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Failure, Verdict

K8 = Settings(population=8)


def born(name: str, fitness: float | None, island: int = 0, **more: object) -> Candidate:
    generation, slot = (int(part) for part in name[1:].split("c"))
    brief = Brief(id=name, generation=generation, slot=slot, operator="sample", seed=1, island=island)
    failure = Failure(verdict=Verdict.TIME, message="too slow") if fitness is None else None
    score = None
    if fitness is not None:
        score = Score(seeds=(1,), fitness=(fitness,), success=(True,), lengths=(9,), seconds=1.0)
    made = Candidate(brief=brief, code=f"# secret of {name}\n", score=score, failure=failure)
    return made.model_copy(update=more)


def history(*generations: Sequence[float | None]) -> Population:
    rows = enumerate(generations)
    return Population(candidates=tuple(born(f"g{g}c{s}", f) for g, row in rows for s, f in enumerate(row)))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_pure_numbers_its_briefs_and_begins_with_samples(name: str) -> None:
    strategy = strategy_of(name)
    assert [b.operator for b in strategy.select(Population(), K8)] == ["sample"] * 8
    population = history([3.0, None, 1.0, 2.0, 8.0, 5.0, 0.5, 7.0], [6.0, 9.0, 4.0, None, 1.0, 1.0, 2.0, 2.0])
    briefs = strategy.select(population, K8)
    assert briefs == strategy_of(name).select(population, K8)
    assert [b.id for b in briefs] == [f"g2c{slot}" for slot in range(8)]
    assert len({b.seed for b in briefs}) == 8
    for brief in briefs:
        assert len(set(brief.parents)) == {"sample": 0, "mutate": 1, "cross": 2}[brief.operator]
        assert all(population[parent].fitness is not None for parent in brief.parents)


@pytest.mark.parametrize("name", STRATEGIES)
def test_where_nothing_trains_a_strategy_keeps_sampling(name: str) -> None:
    assert {b.operator for b in strategy_of(name).select(history([None] * 8), K8)} == {"sample"}


def test_eureka_mutates_the_best_of_the_last_generation_though_an_earlier_one_was_better() -> None:
    population = history([1.0, 9.0], [2.0, 5.0])
    assert {(b.operator, b.parents) for b in Eureka().select(population, K8)} == {("mutate", ("g1c1",))}


def test_eureka_repeats_from_the_reward_before_a_generation_in_which_nothing_trained() -> None:
    assert {b.parents for b in Eureka().select(history([1.0, 9.0], [None, None]), K8)} == {("g0c1",)}


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "zero_shot"])
def test_nobody_descends_from_what_only_behaved_as_another_on_probes(name: str) -> None:
    population = history([1.0, 9.0, 3.0, 4.0], [2.0, 5.0])
    population = population.extended([born("g2c0", 9.0, duplicate_of="g0c1", behaves_alike=True)])
    parents = {parent for brief in strategy_of(name).select(population, K8) for parent in brief.parents}
    assert parents
    assert "g2c0" not in parents


def test_zero_shot_never_has_parents() -> None:
    briefs = ZeroShot().select(history([1.0, 9.0], [2.0, 5.0]), K8)
    assert {(b.operator, b.parents) for b in briefs} == {("sample", ())}


@pytest.mark.parametrize(("strategy", "told"), [("zero_shot", False), ("eureka", False), ("incumbent", True)])
def test_prompts_of_zero_shot_hold_no_feedback(strategy: str, told: bool) -> None:
    population, settings = history([1.0, 9.0, None]), Settings(strategy=strategy)
    population = population.extended([born("g1c0", 1.0, duplicate_of="g0c0")])
    task, alone = load_task("hopper_forward"), Population()
    prompts = Prompts(settings=settings)
    brief = ZeroShot().select(population, settings)[0]
    asked = prompts.compose(brief, task, population).messages
    assert ("g0c1" in str(asked)) == ("g0c2" in str(asked)) == ("g1c0" in str(asked)) == told
    if not told:  # only the angle may differ from a first generation's
        first = prompts.compose(brief.model_copy(update={"slot": brief.slot + 4}), task, alone).messages
        assert asked == first


def test_whom_a_contest_refuted_is_no_longer_the_first_choice_of_any_strategy() -> None:
    lucky = Standing(id="g0c0", screening=11.9, later=(3.4, 4.8))  # of a real search
    known = history([11.9, 9.0, 8.0, 1.0]).with_(standings={"g0c0": lucky})
    assert [c.id for c in known.ranked] == ["g0c1", "g0c2", "g0c0", "g0c3"]
    assert known.mean(known["g0c0"]) == known.merit(known["g0c0"]) == pytest.approx((11.9 + 3.4 + 4.8) / 3)
    assert {b.parents for b in Eureka().select(known, K8)} == {("g0c1",)}
    (island,) = settled(known, Settings(population=2))
    assert [c.id for c in island.members] == ["g0c1", "g0c2", "g0c0", "g0c3"]
    assert [c.id for c in archive(known).values()] == ["g0c1"]  # of one cell, as nothing is known of their behaviour
    broken = Standing(id="g0c1", screening=9.0, later=(None,))
    also = known.with_(standings={**known.standings, "g0c1": broken}).extended([born("g0c4", 99.0, stopped=True)])
    assert [c.id for c in also.ranked] == ["g0c2", "g0c0", "g0c3", "g0c1", "g0c4"]


def test_no_strategy_follows_a_lucky_reward_that_failed_when_it_was_trained_again() -> None:
    broken = Standing(id="g0c0", screening=99.0, later=(None,))
    known = history([99.0, 4.0, 6.0]).with_(standings={"g0c0": broken})
    known = known.extended([born("g0c3", 99.0, duplicate_of="g0c0")])
    assert {b.parents for b in Eureka().select(known, K8)} == {("g0c2",)}
    assert archive(known)[()].id == "g0c2"
    (island,) = settled(known.extended([born("g1c0", 5.5)]), Settings(population=2))
    assert [c.id for c in island.members] == ["g0c2", "g1c0", "g0c1"], "its 99 does not keep 5.5 out"
    (island,) = settled(known.with_(candidates=known.candidates[:1]), Settings(population=2))
    assert [c.id for c in island.members] == ["g0c0"], "nobody else is there"
    later = Standing(id="g1c0", screening=99.0, later=(None,))
    (island,) = settled(history([4.0], [99.0]).with_(standings={"g1c0": later}), Settings(population=2))
    assert [c.id for c in island.members] == ["g0c0"]


def test_islands_breed_among_themselves_only() -> None:
    members = [born(f"g0c{s}", float(s), island=s % 4) for s in range(8)]
    population = Population(candidates=tuple(members))
    places = [island.members for island in settled(population, K8)]
    for brief in Islands().select(population, K8):
        assert set(brief.parents) <= {c.id for c in places[brief.island]}


def test_a_search_with_a_published_strategy_trains_everyone_to_the_end_once_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eureka_agent.cli.sandboxes.chosen_sandbox", lambda name="auto": ScriptedSandbox())
    small = ["inverted_pendulum_balance", "-p", "1", "-g", "1", "--timesteps", "1000", "--final-seeds", "1"]
    for place, words, expected in (
        ("islands", ["--strategy", "islands"], ("none", 1)),
        ("eureka", ["--strategy", "eureka", "--racing", "halving"], ("halving", 1)),
        ("usual", [], ("halving", 3)),
    ):
        assert main(["evolve", *small, *words, "-o", str(tmp_path / place)]) == 0
        with Run.open(tmp_path / place, read_only=True) as run:
            assert (run.settings.racing, run.settings.contest_seeds) == expected


def test_half_of_the_children_of_islands_have_two_parents() -> None:
    population = Population(candidates=tuple(born(f"g0c{s}", 1.0, island=s % 4) for s in range(8)))
    seeds = range(60)
    drawn = Counter(
        b.operator for seed in seeds for b in Islands().select(population, Settings(population=8, seed=seed))
    )
    assert set(drawn) == {"mutate", "cross"}
    assert 0.4 < drawn["cross"] / (8 * len(seeds)) < 0.6


def test_an_island_lets_in_who_reaches_its_mean_and_keeps_its_fittest() -> None:
    def alone(seed: int) -> Settings:  # a population of 2 has one island: nobody migrates
        return Settings(population=2, seed=seed)

    (island,) = settled(history([4.0, 6.0], [5.0, 4.9]), alone(0))
    assert [c.id for c in island.members] == ["g0c1", "g1c0", "g0c0"]
    (island,) = settled(history(*[[float(g), float(g)] for g in range(12)]), alone(0))
    assert len(island.members) == LARGEST_ISLAND
    assert island.members[0].fitness == 11.0
    duplicate, stopped = born("g0c2", 50.0, duplicate_of="g0c0"), born("g0c3", 60.0, stopped=True)
    (island,) = settled(history([4.0, 6.0]).extended([duplicate, stopped]), alone(0))
    assert island.members[0].fitness == 6.0


def test_after_about_a_third_of_the_generations_the_weaker_islands_begin_again_from_the_stronger() -> None:
    strong = [born(f"g0c{s}", 10.0 + s, island=s % 4) for s in (2, 3, 6, 7)]
    weak = [born(f"g0c{s}", 1.0 + s / 10, island=s % 4) for s in (0, 1, 4, 5)]
    population = Population(candidates=(*strong, *weak))
    moved = 0
    for seed in range(200):
        islands = settled(population, Settings(population=8, seed=seed))
        migrants = [[c.id for c in island.members if c in strong] for island in islands[:2]]
        assert all(len(found) <= 1 for found in migrants)
        assert bool(migrants[0]) == bool(migrants[1])
        if migrants[0]:
            moved += 1
            assert [len(island.members) for island in islands] == [2, 2, 2, 2]
            assert islands[0].members[1].id == "g0c4"  # its own best stays
    assert 0.2 < moved / 200 < 0.4


def behaving(name: str, fitness: float, **behaviour: float) -> Candidate:
    return born(name, fitness, behaviour=behaviour)


def test_map_elites_keeps_the_best_of_each_kind_of_behaviour() -> None:
    fast = [behaving(f"g0c{s}", 10.0 + s, effort=0.9, speed=3.0) for s in range(4)]
    slow = [behaving(f"g0c{s}", 1.0 + s / 10, effort=0.1, speed=0.2) for s in range(4, 8)]
    unknown = born("g0c8", 99.0)
    population = Population(candidates=(*fast, *slow, unknown))
    elites = archive(population)
    assert {c.id for c in elites.values()} == {"g0c3", "g0c7", "g0c8"}
    assert elites[()].id == "g0c8"
    drawn = Counter(
        parent
        for seed in range(50)
        for b in MapElites().select(population, K8.model_copy(update={"seed": seed}))
        for parent in b.parents
    )
    assert set(drawn) == {"g0c3", "g0c7", "g0c8"}
    assert max(drawn.values()) < 1.5 * min(drawn.values())  # however unfit its elite, a cell is as likely as another


def test_descriptors_that_a_task_declares_take_the_place_of_effort_and_speed() -> None:
    behaviours: list[Callable[[int], dict[str, float]]] = [
        lambda i: {"effort": float(i), "speed": float(i)},
        lambda i: {"effort": float(i), "speed": float(i), "airtime": 1.0},
    ]
    counts = [
        len(archive(Population(candidates=tuple(behaving(f"g0c{i}", 1.0, **b(i)) for i in range(8)))))
        for b in behaviours
    ]
    assert counts == [4, 1]
