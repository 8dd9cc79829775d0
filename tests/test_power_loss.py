"""A power cut at any moment of a search: what the disk kept opens, and resume comes to the same end and pays once."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from crash_cases import Place, faults, lineage, places, sitting, standing
from power_cases import MODES, SIT, Step, cases, left, moments, recorded

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, to see what SQLite writes")
TRIED = 12
"""Moments out of hundreds; `make crash` tries them all."""
Places = Callable[[str], Place]


@pytest.fixture(scope="module")
def place() -> Iterator[Places]:
    with places() as maker:
        yield maker


@pytest.fixture(scope="module")
def whole(place: Places, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Step], str]:
    """All that an uninterrupted search asks of the disk, and its lineage."""
    here = place("whole")
    steps = recorded(SIT, here.root, tmp_path_factory.mktemp("trace") / "trace")
    return steps, lineage(here)


def test_the_replay_of_everything_is_the_run_as_it_is(whole: tuple[list[Step], str], place: Places) -> None:
    steps, _ = whole
    copy, original = place("copy"), place("whole-again").root.parent / "whole"
    left(steps, len(steps), "all", random.Random(0), copy.root)

    def content(root: Path) -> dict[Path, bytes]:
        """Without what a reader of the database makes anew."""
        files = [path for path in root.rglob("*") if path.is_file() and "-shm" not in path.name]
        found = {path.relative_to(root): path.read_bytes() for path in files}
        return {path: data for path, data in found.items() if data or "-wal" not in path.name}

    assert content(copy.root) == content(original)
    assert len(moments(steps)) > 100


@pytest.mark.parametrize("number", range(TRIED))
def test_what_a_power_cut_leaves_resumes_to_the_same_end(
    number: int, whole: tuple[list[Step], str], place: Places
) -> None:
    steps, expected = whole
    every = list(cases(steps))
    moment, mode = every[(2 * number + 1) * len(every) // (2 * TRIED)]
    cut = place(f"cut-{number}")
    left(steps, moment, mode, random.Random(number), cut.root)
    before = standing(cut)
    with patch("eureka_agent.runs.lease._boot", lambda: "the next"):
        sitting(cut)
    assert faults(cut, *before, expected) == [], f"power cut after {moment} steps, {mode}"


def test_without_waiting_for_the_disk_a_power_cut_costs_answers(place: Places, whole: tuple[list[Step], str]) -> None:
    """The test can fail: with all syncs taken out, what was journaled before a call is lost with it."""
    steps, _ = whole
    careless = [step for step in steps if step.kind != "sync" or step.node.names is not None]
    cut = place("careless")
    left(careless, len(careless), "synced", random.Random(0), cut.root)
    broken = list((cut.root / "runs").rglob("run.db"))
    assert not broken or all(path.stat().st_size == 0 for path in broken)


def test_every_kind_of_loss_is_tried(whole: tuple[list[Step], str]) -> None:
    every = list(cases(whole[0]))
    tried = {every[(2 * number + 1) * len(every) // (2 * TRIED)][1] for number in range(TRIED)}
    assert {mode for _, mode in every} == set(MODES)
    assert len(tried) >= 3
