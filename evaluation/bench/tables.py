"""One Markdown table per part of the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import plan
import speeds
import texts
from figures import Figures
from goals import goals
from intervals import Sample, median_interval, ratio_interval
from stepping import BARE, RATES, SHARES
from time_to_fitness import GOALS, JUDGE_EPISODES, JUDGE_EVERY, STEP_BUDGET
from training import BASELINE

from eureka_evaluation.statistics import interquartile_mean


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned right."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def verdicts(figures: Figures) -> str:
    """Every goal beside its figure."""
    rows = [(f"({g.part}) {g.words}", g.limit, g.measured.text(), g.verdict) for g in goals(figures)]
    head = ("goal", "limit", "measured", "verdict")
    return texts.GOALS + table(head, rows) if rows else ""


def stepping(figures: Figures) -> str:
    """(a): every contender, absolute and beside bare MuJoCo."""
    text = texts.STEPPING
    for body in figures.below("a"):
        shares = figures.medians(f"a/{body}", SHARES)
        rows = [(name, r.text(), shares[name].text(".2f")) for name, r in figures.medians(f"a/{body}", RATES).items()]
        text += f"\n**{body}**\n" + table(("", "steps/s", "of bare `mj_step`"), rows)
    return text


def training_speed(figures: Figures) -> str:
    """(b): every arm, absolute and beside SB3's defaults."""
    text = texts.TRAINING
    head = ("", "steps/s", "steps per CPU second", "of SB3's defaults, 4 envs", "first iteration, s")
    for body in figures.below("b"):
        rows = []
        for arm in figures.below(f"b/{body}"):
            group, base = f"b/{body}/{arm}", f"b/{body}/{BASELINE}"
            ratio = figures.ratio(group, base, "steps_per_second").text() if base in figures.groups else "-"
            rates = (figures.median(group, key).text() for key in ("steps_per_second", "steps_per_cpu_second"))
            rows.append(
                (speeds.ARMS[arm].title, *rates, ratio, figures.median(group, "first_iteration_seconds").text())
            )
        text += f"\n**{body}**\n" + table(head, rows)
    return text


def fitness(figures: Figures) -> str:
    """(c): both arms and their ratio for every goal, and our recipes."""
    head = ("goal", "ours, s", "reached", "ours, 1000 steps", "SB3, s", "reached", "SB3 / ours", "steps/s, ours / SB3")
    rows, recipes, shares = [], [], []
    for name in figures.below("c"):
        ours, sb3 = figures.times(f"c/{name}/ours"), figures.times(f"c/{name}/sb3")
        groups = [f"c/{name}/{arm}" for arm in ("ours", "sb3")]
        shares += [result["cpu_seconds"] / result["seconds"] for group in groups for result in figures.results(group)]
        steps = [Sample(r["timesteps"] / 1000, not r["reached"]) for r in figures.results(groups[0])]
        columns = ["-"] * 4
        if sb3:
            speeds_ratio = figures.ratio(*groups, lambda result: result["timesteps"] / result["seconds"]).text()
            columns = [median_interval(sb3).text(), _reached(sb3), ratio_interval(sb3, ours).text(), speeds_ratio]
        rows.append(
            (GOALS[name].words, median_interval(ours).text(), _reached(ours), median_interval(steps).text(), *columns)
        )
        recipes.append(f"* {GOALS[name].words}: `{GOALS[name].hyperparameters()}`")
    text = texts.FITNESS.format(
        episodes=JUDGE_EPISODES,
        every=JUDGE_EVERY,
        censor=figures.options.censor,
        budget=STEP_BUDGET / 1e6,
        share=f"{np.median(shares):.0%}",
        least=f"{min(shares):.0%}",
    )
    return text + table(head, rows) + "\nOur recipes:\n\n" + "\n".join(recipes) + "\n"


def _reached(times: Sequence[Sample]) -> str:
    return f"{sum(not sample.at_least for sample in times)} of {len(times)}"


def final(figures: Figures) -> str:
    """(d): both learners' final scores and their difference."""
    head = ("task", "ours", "SB3's learner", "ours - SB3", "seeds")
    rows = []
    for task in figures.below("d"):
        if scores := figures.final_scores(task):
            quality = (interquartile_mean(each, seed=0) for each in (scores.ours, scores.sb3))
            both = (f"{i.value:.4g} [{i.low:.4g}, {i.high:.4g}]" for i in quality)
            rows.append((task, *both, scores.difference.text("+.3g"), str(scores.seeds)))
    return texts.FINAL.format(timesteps=figures.options.final_timesteps) + table(head, rows)


def search(figures: Figures) -> str:
    """(e): wall time of whole searches, and the stages' shares."""
    text = texts.SEARCHES
    for group in (group for group in figures.groups if group.startswith("e/")):
        asked, results = figures.groups[group][0].parameters, figures.results(group)
        keys = {"wall": "wall", "search": "search_seconds", "comparison": "comparison_seconds"}
        minutes = {name: figures.median(group, _scaled(key, 1 / 60)).text() for name, key in keys.items()}
        whole = figures.median(group, _scaled("search_seconds", 5 / asked["generations"] / 60)).text()
        projection = texts.PROJECTION.format(whole=whole) if asked["generations"] < 5 else ""
        known = {"task": asked["task"], "timesteps": asked["timesteps"], "jobs": results[0]["jobs"]} | minutes
        known |= {"manner": texts.EVERY_STEP if asked["every_step"] else texts.BY_DEFAULT}
        known |= {"millions": figures.median(group, _scaled("steps", 1e-6)).text()}
        known |= {"generations": _plural(asked["generations"], "generation"), "runs": _plural(len(results), "run")}
        text += texts.SEARCH.format(**known, projection=projection, bare=_bare(figures, group))
        text += _stages(figures, group)
    return text


def _bare(figures: Figures, group: str) -> str:
    """How long the physics of a search alone would take at (a)'s speed and with its interval."""
    stepping = f"a/{plan.SEARCH_BODY}"
    if stepping not in figures.groups:
        return ""
    core_steps = figures.median(group, lambda result: result["steps"] / result["jobs"]).value
    minutes = figures.median(stepping, lambda result: core_steps / result[RATES][BARE] / 60)
    return texts.BARE.format(minutes=minutes.text())


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _scaled(key: str, factor: float) -> Callable[[dict[str, Any]], float]:
    return lambda result: float(result[key]) * factor


def _stages(figures: Figures, group: str) -> str:
    """Shares of the core seconds, and the host's share of CPU time."""

    def share(stage: str) -> Callable[[dict[str, Any]], float]:
        return lambda result: 100 * result["stages"].get(stage, 0.0) / (result["wall"] * result["jobs"])

    def host(result: dict[str, Any]) -> float:
        return 100 * float(result["host_cpu_seconds"]) / (result["host_cpu_seconds"] + result["box_cpu_seconds"])

    stages = dict.fromkeys(stage for result in figures.results(group) for stage in result["stages"])
    rows = [(stage, figures.median(group, share(stage)).text(".1f")) for stage in stages]
    rows.append(("(the host's share of all CPU time)", figures.median(group, host).text(".1f")))
    return table(("stage", "% of core seconds"), rows)


def scaling(figures: Figures) -> str:
    """(f): wall time and throughput over cores, and over candidates."""
    text = texts.SCALING.format(task=plan.SEARCH_TASK)
    cases = {
        "cores": f"8 candidates × {plan.CORES_TIMESTEPS:,} steps",
        "candidates": f"all cores, {plan.CANDIDATES_TIMESTEPS:,} steps per candidate",
    }
    for kind, told in cases.items():
        names = figures.below(f"f/{kind}")
        rows = []
        for name in names:
            group, first = f"f/{kind}/{name}", f"f/{kind}/{names[0]}"
            speedup = figures.ratio(group, first, _throughput).text(".2f")
            rate = figures.median(group, _throughput).text()
            rows.append((name, figures.median(group, "wall").text(), rate, speedup))
        text += f"\n**{told}**\n" + table((kind, "wall, s", "steps/s in all", "of the first row"), rows)
    return text


def _throughput(result: dict[str, Any]) -> float:
    return float(result["steps"] / result["wall"])


def memory(figures: Figures) -> str:
    """(g): peak memory of a training box, and how soon it steps."""
    rows = [
        (body, *(figures.median(f"g/{body}", key).text() for key in ("memory_mb", "first_seconds", "later_seconds")))
        for body in figures.below("g")
    ]
    head = ("body", "peak memory, MB", "first box, s", "later box, s")
    return texts.MEMORY.format(timesteps=plan.MEMORY_TIMESTEPS) + table(head, rows)


TABLES: dict[str, Callable[[Figures], str]] = {
    "a": stepping,
    "b": training_speed,
    "c": fitness,
    "d": final,
    "e": search,
    "f": scaling,
    "g": memory,
}
