"""What the README quotes is what the code says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from eureka_agent import loop
from eureka_agent.contract.task import builtin_tasks, load_task
from eureka_agent.search.estimate import planned
from eureka_agent.settings import Recipe, Settings
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.hostile import load_corpus

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CODE = ("eureka_agent", "evaluation", "prompts", "sandbox", "tasks")
READMES = [page for folder in CODE for page in sorted((ROOT / folder).rglob("README.md"))]


def test_the_readme_quotes_the_loop_as_it_is() -> None:
    assert inspect.getsource(loop.evolve).strip() in README


def test_the_loops_file_stays_on_one_page() -> None:
    assert len(inspect.getsource(loop).splitlines()) < 60


def test_every_body_is_named_where_the_readme_says_how_to_make_a_task() -> None:
    section = README.split("## A task of your own")[1].split("## ")[0]
    assert all(body in section for body in BODIES)


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *READMES):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_the_hostile_corpus_is_as_large_as_is_told() -> None:
    cases = sum(len(category.cases) for category in load_corpus().values())
    assert f"of {cases} hostile and broken rewards" in README


def test_the_demo_runs_a_shipped_task_and_takes_the_steps_that_are_promised() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.split("demo: setup")[1].split("\n\n")[0]
    (name,) = (task for task in builtin_tasks() if task in recipe)
    task = load_task(name)
    settings = Settings.model_validate(dict(re.findall(r"--(\w+) (\d+)", recipe)))
    steps = planned(settings, Recipe.of(task, settings), settings.generations).steps
    for page in (README, makefile):
        assert float(page.split("about ")[1].split("M environment steps")[0]) == pytest.approx(steps / 1e6, rel=0.03)
