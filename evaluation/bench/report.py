"""What a report weighs and takes: size, time to write, time to open in Chromium; 40 candidates with films, and 1,000.

    make bench-report, or .venv/bin/python evaluation/bench/report.py

The run is made up: rewards of the offline search, curves of 200 points, films that a real encoder made, no training.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from eureka_agent.contract.task import load_task
from eureka_agent.population import Brief, Candidate, Population, Proposal, Score, Training
from eureka_agent.proposers import make_proposer
from eureka_agent.report.build import write_report
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_evaluation.finding import Finding

TASK = "hopper_forward"
POINTS = 200
SHAPES = ((8, 5, 40), (100, 10, 4))
"""Population, generations, and how many candidates are filmed."""
REPEATS = 3
DIFFERENT = 64
"""Rewards that are proposed; more candidates than that share their code, but for a comment."""


def main() -> None:
    """Make both runs, and print a line each."""
    print("Opening: seconds to DOMContentLoaded, to load, and of work on the page's own thread; medians of 3.")
    print("candidates  films  page MB  write CPU s    open    load  thread CPU s")
    with tempfile.TemporaryDirectory(prefix="eureka-bench-report-") as folder:
        empty = Path(folder) / "empty.html"
        empty.write_text("<!doctype html><title>empty</title><p>nothing")
        print(f"{0:10d}  {0:5d}  {0:7.2f}  {0:11.2f}  {shown(empty)}")
    for population, generations, filmed in SHAPES:
        with tempfile.TemporaryDirectory(prefix="eureka-bench-report-") as folder:
            with made_up(Path(folder) / "run", population, generations, filmed) as run:
                took = []
                for _ in range(REPEATS):
                    began = time.process_time()
                    page = write_report(run)
                    took.append(time.process_time() - began)
            size = page.stat().st_size / 1e6
            count, line = population * generations, shown(page)
            print(f"{count:10d}  {filmed:5d}  {size:7.2f}  {sorted(took)[1]:11.2f}  {line}")


def shown(page: Path) -> str:
    """Three columns of the table."""
    opened = opening(page)
    return "{:6.2f}  {:6.2f}  {:12.2f}".format(*opened) if opened else "no Chromium"


def made_up(folder: Path, size: int, generations: int, filmed: int) -> Run:
    """A run that looks as if it had trained."""
    task = load_task(TASK)
    run = Run.create(folder, task, Settings(population=size, generations=generations, contest_seeds=1))
    proposer, rng = make_proposer("offline", task), np.random.default_rng(0)
    film, population = encoded(), Population()
    poster, proposals = run.put_blob(film[1]), list[Proposal]()
    for generation in range(generations):
        born = []
        for slot in range(size):
            parents = tuple(c.id for c in population.ranked[:2]) if generation else ()
            operator = ("sample" if not parents else "mutate") if slot % 3 else ("cross" if parents else "sample")
            parents = parents if operator == "cross" else parents[:1]
            name = f"g{generation}c{slot}"
            brief = Brief(id=name, generation=generation, slot=slot, operator=operator, parents=parents, seed=slot)
            if len(proposals) < DIFFERENT:
                known = Population(candidates=tuple(population[p] for p in parents))
                proposals.append(proposer.propose(brief, task, known))
            proposal = proposals[(generation * size + slot) % len(proposals)]
            fitness = float(rng.gamma(2.0, 2.0) + generation)
            candidate = Candidate(
                brief=brief,
                code=f"{proposal.code}# {name}\n",
                genome=proposal.genome,
                training=trained(name, rng, proposal.code),
                score=scored(fitness, rng),
                reflection="What its training showed.\\n" * 30,
                findings=(Finding("ends_early", 0.6, "Half of the episodes end within 212 of 1000 steps."),),
            )
            assert candidate.training is not None
            assert candidate.score is not None
            run.save_training(name, candidate.training)
            run.save_score(name, candidate.score)
            if generation * size + slot < filmed:
                video = run.put_blob(film[0] + bytes([slot, generation]))
                shown = candidate.score.model_copy(update={"video": video, "poster": poster})
                run.save_score(f"film/{candidate.training.policy}", shown)
            born.append(candidate)
        population = run.extend(population, born)
    return run


def trained(name: str, rng: np.random.Generator, code: str) -> Training:
    """Curves that rise."""
    steps = np.linspace(1, 1e6, POINTS)
    rise = 1 - np.exp(-steps / 3e5)
    curves = {"time/total_timesteps": steps, "rollout/ep_len_mean": 50 + 900 * rise}
    curves["rollout/ep_rew_mean"] = 1000 * rise + rng.normal(0, 20, POINTS).cumsum()
    for place in range(5):
        curves[f"reward/part_{place}"] = (300 - 100 * place) * rise + rng.normal(0, 5, POINTS)
    return Training(
        seed=int(rng.integers(2**32)),
        timesteps=1_000_000,
        seconds=60.0,
        startup_seconds=2.0,
        peak_timesteps=900_000,
        peak_return=900.0,
        curves={key: [float(v) for v in column] for key, column in curves.items()},
        policy=f"{abs(hash((name, code))):064x}"[:64],
        policy_meta="0" * 64,
        versions={"mujoco": "3.3.0"},
    )


def scored(fitness: float, rng: np.random.Generator) -> Score:
    """Thirty episodes."""
    values = rng.normal(fitness, 1.0, 30)
    return Score(
        seeds=tuple(int(s) for s in rng.integers(2**32, size=30)),
        fitness=tuple(float(v) for v in values),
        success=tuple(bool(v > 8) for v in values),
        lengths=(1000,) * 30,
        seconds=2.0,
    )


def encoded() -> tuple[bytes, bytes]:
    """Ten seconds of H.264 about as large as a real film, and a still."""
    import av

    from eureka_sandbox.worker.video import still

    rng, buffer = np.random.default_rng(0), io.BytesIO()
    ground = np.repeat(np.repeat(rng.integers(60, 200, (45, 120, 3), dtype=np.uint8), 8, axis=0), 8, axis=1)
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "26", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuv420p"
        for number in range(250):
            picture = np.ascontiguousarray(ground[:, number : number + 480])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue(), still(ground[:, :480])


def opening(page: Path) -> list[float] | None:
    """Median seconds until the page's elements are there, until all has loaded, and of its own thread's work.

    None without Chromium. On a busy machine only the last says anything.
    """
    path = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
    if path is None:
        return None
    from playwright.sync_api import sync_playwright

    seen = []
    script = (
        "(({domContentLoadedEventEnd: a, loadEventEnd: b}) => [a, b])(performance.getEntriesByType('navigation')[0])"
    )
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]) as browser,
    ):
        for _ in range(REPEATS):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            session = tab.context.new_cdp_session(tab)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            tab.goto(page.as_uri())
            tab.wait_for_function("() => performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
            busy = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
            seen.append([*(value / 1000 for value in tab.evaluate(script)), busy["TaskDuration"]])
            tab.close()
    return [sorted(values)[REPEATS // 2] for values in zip(*seen, strict=True)]


if __name__ == "__main__":
    main()
