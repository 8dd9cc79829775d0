"""The repository's own promises: locked versions agree, content is found, folders hold what the README says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from eureka_agent.content import content

ROOT = Path(__file__).resolve().parent.parent


def pins(path: Path) -> dict[str, str]:
    """Name → version of every `name==version` line, names normalised."""
    lines = [line for line in path.read_text().splitlines() if "==" in line and not line.startswith("#")]
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in (line.split("==") for line in lines)}


def test_the_image_locks_the_same_versions_as_the_constraints() -> None:
    constraints = pins(ROOT / "constraints.txt")
    image = pins(content("sandbox/image") / "requirements.txt")
    assert image
    assert image == {name: constraints.get(name) for name in image}


def test_every_declared_dependency_is_pinned_in_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.sub("[-_.]+", "-", re.split(r"[\[<>=;~! ]", item)[0]).lower() for item in declared}
    assert names <= set(pins(ROOT / "constraints.txt"))


@pytest.mark.parametrize("name", ["prompts", "tasks", "sandbox/image"])
def test_content_folders_are_found_from_a_checkout(name: str) -> None:
    assert any(content(name).iterdir())


def test_no_importable_top_level_folder_shadows_a_users_own() -> None:
    for name in ("tasks", "prompts", "sandbox", "evaluation"):
        assert not (ROOT / name / "__init__.py").exists()
