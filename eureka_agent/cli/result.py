"""The end of a search on stdout: the best reward, its figures beside the human reward's, and where the report is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eureka_agent.cli.candidates import print_candidates
from eureka_agent.cli.common import print_json, print_python, result_console
from eureka_agent.lab.variations import Held, told
from eureka_agent.report.facts import RunFacts, comparison_rows, gather, selection, verdict
from eureka_agent.runs.catches import caught, in_words
from eureka_agent.runs.run import Run
from eureka_agent.search import prescreen
from eureka_agent.text import count, duration, from_here

if TYPE_CHECKING:
    from rich.console import Console

    from eureka_agent.search.comparison import Arm, Estimate


def print_result(run: Run, as_json: bool) -> None:
    """Write the report and print what a run has come to, at its end or when its time ran out."""
    from eureka_agent.report.build import write_report

    facts = gather(run)
    report = write_report(run, facts)
    if as_json:
        end = run.end()
        print_json({**result_data(facts, report), "ended": end.reason if end else None})
        return
    console = result_console()
    if facts.best:
        print_python(console, facts.best.code)
        console.print()
    print_candidates(console, facts)
    if facts.comparison:
        _print_table(console, facts)
        console.print(f"\n{facts.comparison.note} {selection(facts)}".rstrip(), style="dim")
        if facts.comparison.robustness:
            unit = facts.task.spec.metric.unit
            for line in told(facts.comparison.robustness, unit, facts.comparison.candidate):
                console.print(line, soft_wrap=True)
    console.print(f"\n{verdict(facts)}", style="bold")
    if end := run.end():
        console.print(f"ended: {end.reason}", soft_wrap=True)
    console.print(f"report {from_here(report)}", soft_wrap=True)
    steps = f"{count(facts.trained_steps)} environment steps in all trainings"
    console.print(f"wall time {duration(facts.seconds)}, {steps}")
    if facts.utilisation:
        console.print(f"boxes busy {facts.utilisation.text}", soft_wrap=True)
    if facts.spending and facts.spending.text:
        console.print(facts.spending.text, soft_wrap=True)
    if stopped := in_words(caught(facts.population)):
        console.print(stopped, soft_wrap=True)
    if facts.prescreen:
        console.print(prescreen.told(facts.prescreen), soft_wrap=True)


def _print_table(console: Console, facts: RunFacts) -> None:
    from rich.table import Table

    console.print(facts.task.spec.metric.name, style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for heading in ("IQM", "95 % interval", "success", "best is better", "episodes"):
        table.add_column(heading, justify="right")
    styles = {"candidate": "bold green", "human": "yellow", "random": "dim"}
    for row in comparison_rows(facts):
        cells = (row.label, row.fitness, row.interval, row.success, row.odds or "–", row.episodes)
        table.add_row(*cells, style=styles[row.name])
    console.print(table)


def result_data(facts: RunFacts, report: Path) -> dict[str, Any]:
    """The same as JSON; `best` is null while nothing has trained, the arms while nothing is compared."""
    best, comparison = facts.best, facts.comparison
    robustness = comparison.robustness if comparison else None
    return {
        "run": facts.folder,
        "report": str(report),
        "task": facts.task.name,
        "finished": comparison is not None,
        "generations": facts.population.generations,
        "candidates": len(facts.population.candidates),
        "failed": facts.failed,
        "unit": facts.unit,
        "best": {"id": best.id, "fitness": facts.fitness(best), "code": best.code} if best else None,
        "arms": {arm.name: _arm(arm) for arm in comparison.arms} if comparison else None,
        "probability_over_human": _estimate(comparison.over_human) if comparison else None,
        "probability_over_random": _estimate(comparison.over_random) if comparison else None,
        "note": comparison.note if comparison else None,
        "optimism": _estimate(comparison.optimism) if comparison and comparison.optimism else None,
        "suspicions": [finding.text for finding in facts.suspicions(best)] if best else None,
        "held_out": [_held(held) for held in robustness.arms] if robustness else None,
        "scores": {c.id: facts.fitness(c) for c in facts.population.candidates},
        "verdict": verdict(facts),
        "environment_steps": facts.trained_steps,
        "seconds": round(facts.seconds, 1),
        "utilisation": facts.utilisation.model_dump() if facts.utilisation else None,
        "gates": [tally.model_dump() for tally in caught(facts.population)],
        "prescreen": facts.prescreen.model_dump() if facts.prescreen else None,
        "spending": facts.spending.model_dump() if facts.spending else None,
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {"iqm": _estimate(arm.iqm), "success_rate": arm.success_rate, "fitness": arm.fitness}


def _held(held: Held) -> dict[str, Any]:
    """An arm in held-out variations of the task, in the metric's unit."""
    return {
        "arm": held.arm,
        "nominal": held.nominal,
        "mean": held.mean,
        "drop": held.drop,
        "worst": held.worst.name if held.worst else None,
        "fitness": {outcome.name: outcome.mean for outcome in held.outcomes},
    }


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
