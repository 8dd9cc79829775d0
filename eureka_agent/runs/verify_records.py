"""Whether what a run's folder holds still fits together: journal, blobs, task, candidates, bindings, comparison.

Nothing is measured here; `verify` does that. A stored value that is wrong is a `Mismatch`, never an exception.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from eureka_agent.errors import RunError
from eureka_agent.lab.bank import BankRecord
from eureka_agent.lab.filming import FILM, FRAMES
from eureka_agent.lab.floor import FLOOR, RANDOM, ZERO
from eureka_agent.lab.judging import Judged, JudgedBank
from eureka_agent.lab.maps import Maps
from eureka_agent.lab.scores import EvaluationSeeds, binding, reward_digest, scoring_job, seeds_key
from eureka_agent.lab.variations import NOMINAL, group_and_policy, score_key
from eureka_agent.population import Candidate, Record, Score, Training, rung_key
from eureka_agent.runs.journal import Journal
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify_contests import counted_alike, decided_again, differences
from eureka_agent.search.comparison import Comparison, Estimate, Trial, compare, measured_arm
from eureka_agent.search.contest import Incumbency, incumbency_key
from eureka_agent.text import plural

M = TypeVar("M", bound=BaseModel)
FINAL_RANDOM = "final/random"
WITHOUT_POLICY = (RANDOM, ZERO, FINAL_RANDOM)
"""Keys of scores that no training belongs to; `eureka tasks measure` has `random-<index>` too."""


class Mismatch(Record):
    """One value that is not what it should be."""

    where: str
    """A candidate's id or another score's key; `task`, `blobs`, `run.db`."""
    what: str
    stored: str
    found: str
    """What it should be, by what was computed again."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.stored} is stored, {self.found} was found"


class StoredScore(Record):
    """A score as it is stored, with what it was measured on."""

    key: str
    score: Score
    training: Training | None

    @property
    def idle(self) -> bool:
        """Whether it is that of zero actions."""
        return self.key == ZERO


class Records:
    """The journal's rows, as far as they can be read; what cannot is in `mismatches`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.mismatches: list[Mismatch] = []
        self._journal = Journal(run.folder, read_only=True)
        try:
            self._held = dict(self._incumbencies())
            self._alike = counted_alike(self._held)
            self.scores = list(self._scores())
            self._integrity()
            self._blobs()
            self._task()
            self._candidates()
            self._contests()
            self._comparisons()
        finally:
            self._journal.close()

    def _wrong(self, where: str, what: str, stored: object, found: object) -> None:
        self.mismatches.append(Mismatch(where=where, what=what, stored=str(stored), found=str(found)))

    def _read(self, model: type[M], text: str, where: str) -> M | None:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            self._wrong(where, "its record", "something else", f"{error.error_count()} errors in a {model.__name__}")
            return None

    # ------------------------------------------------------------------------------------------------------- scores

    def _scores(self) -> Iterator[StoredScore]:
        trainings = self._trainings()
        sql = "SELECT key, episodes, fitness, success_rate, record FROM scores WHERE verdict IS NULL ORDER BY finished"
        for key, *numbers, record in self._journal.rows(sql):
            score = self._read(Score, record, key)
            if score is None:
                continue
            for name, column, value in zip(
                ("episodes", "fitness", "success rate"),
                numbers,
                (len(score.fitness), score.mean, score.success_rate),
                strict=True,
            ):
                if column != value:
                    self._wrong(key, f"{name} in the leaderboard", column, value)
            varied = group_and_policy(key)
            played = trainings.get(varied[1] if varied else key.removeprefix(FILM).removeprefix(FRAMES), [])
            if not played and key not in WITHOUT_POLICY and not key.startswith("random-"):
                self._wrong(key, "its training", "none", "a score of a policy")
                continue
            possible = [StoredScore(key=key, score=score, training=training) for training in played or (None,)]
            stored = next((one for one in possible if self._binding(one) == score.binding), possible[0])
            self._check_seeds(stored)
            self._check_binding(stored)
            yield stored

    def _trainings(self) -> dict[str, list[Training]]:
        """By key; and, for films and variations, by policy, which several may have come to: whoever played first is the
        one that such a score is bound to."""
        found: dict[str, list[Training]] = {}
        for key, record in self._journal.rows("SELECT key, record FROM trainings WHERE verdict IS NULL"):
            if training := self._read(Training, record, key):
                self._check_training(key, training)
                found[key] = [training]
                found.setdefault(training.policy, []).append(training)
        return found

    def _check_training(self, key: str, training: Training) -> None:
        """The candidate's own: of its code, with its seed, begun with its parent's policy or from scratch."""
        final, (place, *rest) = key.startswith("final/"), key.removeprefix("final/").split("/")
        rows = self._journal.rows("SELECT code, parents FROM candidates WHERE id = ?", (place,))
        code = self.run.task.human_reward if final and place == "human" else rows[0][0] if rows else None
        if code is None:
            return  # of `eureka tasks measure`, or of a candidate that is named where all of them are looked at
        if training.reward and training.reward != (digest := reward_digest(code)):
            self._wrong(key, "SHA-256 of the reward it was trained on", f"{training.reward[:12]}…", f"{digest[:12]}…")
        derived = self.run.settings.derived_seed
        if final:
            seed = derived("final", int(rest[0]))
        else:  # alone, on the way (rung/<n>), or in a contest (seed/<n>)
            seed = derived("contest", int(rest[1])) if rest[:1] == ["seed"] else derived("train", place)
        if training.seed != seed:
            self._wrong(key, "seed of its training", training.seed, seed)
        scratch = final or (rest[:1] == ["seed"] and place not in self._alike)
        if training.warm_start and (scratch or training.warm_start not in rows[0][1].split()[:1]):
            wanted = "no weights" if scratch else rows[0][1] or "none"
            self._wrong(key, "what it began with", training.warm_start, wanted)

    def _check_seeds(self, stored: StoredScore) -> None:
        """Those that were drawn before the score was measured."""
        varied = group_and_policy(stored.key)
        drawn = seeds_key(varied[0] if varied else stored.key)
        rows = self._journal.rows("SELECT value FROM decisions WHERE key = ?", (drawn,))
        if not rows and not stored.key.startswith((FILM, FRAMES)):
            self._wrong(stored.key, "reset seeds", _few(stored.score.seeds), "none were drawn")
        decided = self._read(EvaluationSeeds, rows[0][0], stored.key) if rows else None
        if decided is not None and decided.seeds != stored.score.seeds:
            self._wrong(stored.key, "reset seeds", _few(stored.score.seeds), _few(decided.seeds))

    def _check_binding(self, stored: StoredScore) -> None:
        score = stored.score
        if not score.binding:
            if stored.training and stored.training.reward:  # of a version that binds
                self._wrong(stored.key, "what binds it", "nothing", "a score of a version that binds")
            return
        found = self._binding(stored)
        if found is not None and found != score.binding:
            what = "what binds it to candidate, policy, task, seeds and box"
            self._wrong(stored.key, what, f"{score.binding[:12]}…", f"{found[:12]}…")

    def _binding(self, stored: StoredScore) -> str | None:
        """What should bind it; None where a blob is missing, which is named where all blobs are looked at."""
        score = stored.score
        try:
            job = scoring_job(self.run, stored.training, score.seeds, 1024, idle=stored.idle, variation=score.variation)
        except RunError:
            return None
        return binding(self.run.task.digest, job, score.box, score.versions, stored.key, stored.training)

    # ----------------------------------------------------------------------------------------- journal, blobs, task

    def _integrity(self) -> None:
        found = [str(row[0]) for row in self._journal.rows("PRAGMA integrity_check")]
        if found != ["ok"]:
            self._wrong("run.db", "SQLite's integrity check", found[0], "ok")

    def _blobs(self) -> None:
        self.blobs = 0
        folder = self.run.folder / "blobs"
        for path in sorted(folder.iterdir()):
            if len(path.name) != 64:
                continue  # half-written by a writer that was killed or is at work
            self.blobs += 1
            digest = _file_digest(path)
            if digest != path.name:
                self._wrong(f"blobs/{path.name[:12]}…", "SHA-256", "its name", f"{digest[:12]}…")
        for where, digest in self._references():
            if not (folder / digest).is_file():
                self._wrong(where, f"blob {digest[:12]}…", "named", "missing")

    def _references(self) -> Iterator[tuple[str, str]]:
        for stored in self.scores:
            training, score = stored.training, stored.score
            policy = (training.policy, training.policy_meta) if training else ()
            blobs = (*policy, score.episodes, score.video, score.poster, score.frames)
            yield from ((stored.key, digest) for digest in blobs if digest)
        for call in self.run.calls():
            yield from ((call.key, digest) for digest in (call.prompt, call.response, call.raw) if digest)
        if floor := self.run.floor():
            yield FLOOR, floor.recording
        for key, value in self._journal.rows("SELECT key, value FROM decisions WHERE key LIKE 'bank/%'"):
            if bank := self._read(BankRecord, value, key):
                yield key, bank.blob
        for key, value in self._journal.rows("SELECT key, value FROM decisions WHERE key LIKE 'judged/%'"):
            if key.count("/") == 2 and (common := self._read(JudgedBank, value, key)):
                yield key, common.blob
            elif key.count("/") == 3 and (judged := self._read(Judged, value, key)) and judged.values:
                yield key, judged.values

        for key, value in self._journal.rows("SELECT key, value FROM decisions WHERE key LIKE 'maps/%'"):
            if (maps := self._read(Maps, value, key)) and maps.values:
                yield key, maps.values

    def _task(self) -> None:
        """The readable copy against the snapshot, which every binding holds."""
        for name, data in self.run.task.files.items():
            path = self.run.folder / "task" / name
            if path.is_file() and path.read_bytes() != data:
                digest = hashlib.sha256(data).hexdigest()
                self._wrong(f"task/{name}", "SHA-256", f"{digest[:12]}…", f"{_file_digest(path)[:12]}…")

    # --------------------------------------------------------------------------------------- candidates, comparison

    def _candidates(self) -> None:
        self.candidates, self._measured = 0, list[Candidate]()
        known = {stored.key: stored for stored in self.scores}
        means = {key: stored.score.mean for key, stored in known.items()}
        sql = "SELECT id, code, record FROM candidates ORDER BY generation, slot"
        for name, column, record in self._journal.rows(sql):
            self.candidates += 1
            candidate = self._read(Candidate, record, name)
            if candidate is None:
                continue
            last = rung_key(candidate.id, len(candidate.rungs) - 1) if candidate.stopped else candidate.id
            stored = known.get(last)
            measured = {"training": stored.training, "score": stored.score} if stored else {"score": None}
            self._measured.append(candidate.model_copy(update=measured))
            digest = _digest(candidate.code)
            if column != candidate.code:
                self._wrong(candidate.id, "SHA-256 of its code", _digest(column), digest)
            path = self.run.folder / "candidates" / candidate.id / "reward.py"
            if path.is_file() and path.read_bytes() != candidate.code.encode():
                self._wrong(candidate.id, "SHA-256 of its reward.py", digest, f"{_file_digest(path)[:12]}…")
            for number, rung in enumerate(() if candidate.duplicate_of else candidate.rungs):
                score = rung_key(candidate.id, number)
                if means.get(score) != rung.fitness:
                    self._wrong(candidate.id, f"its copy of {score}'s mean", rung.fitness, means.get(score))

    def _incumbencies(self) -> Iterator[tuple[int, Incumbency]]:
        for key, value in self._journal.rows("SELECT key, value FROM decisions WHERE key LIKE 'g%/incumbent'"):
            if incumbency := self._read(Incumbency, value, key):
                yield int(key.removeprefix("g").removesuffix("/incumbent")), incumbency

    def _contests(self) -> None:
        """What each contest says of its trainings, against their scores, and what it made of them."""
        means = {stored.key: stored.score.mean for stored in self.scores}
        warm = {stored.key: bool(stored.training and stored.training.warm_start) for stored in self.scores}
        for generation, standing in ((n, s) for n, held in self._held.items() for s in held.standings):
            told: dict[str, float | None] = {standing.id: standing.screening}
            told |= {f"{standing.id}/seed/{i}": mean for i, mean in enumerate(standing.later, 1)}
            for score, mean in told.items():
                if means.get(score) != mean:
                    self._wrong(incumbency_key(generation), f"its copy of {score}'s mean", mean, means.get(score))
            found = warm.get(standing.id, standing.warm)
            if standing.warm is not None and standing.warm != found:
                what = f"whether {standing.id}'s training began with its parent's policy"
                self._wrong(incumbency_key(generation), what, standing.warm, found)
        self._decisions(self._held, means)

    def _decisions(self, contests: Mapping[int, Incumbency], means: Mapping[str, float]) -> None:
        """What each contest decided, decided again."""
        try:
            taken = self.run.taken()
        except ValidationError as error:
            self._wrong("inbox", "what people said", "something else", f"{error.error_count()} errors in it")
            return
        failed = "SELECT key FROM {} WHERE verdict IS NOT NULL AND key LIKE '%/seed/%'"
        rows = [row for table in ("trainings", "scores") for row in self._journal.rows(failed.format(table))]
        trained = {**means, **dict.fromkeys((str(key) for (key,) in rows), None)}
        for generation, stored in contests.items():
            again = decided_again(self.run, generation, self._measured, contests, trained, taken)
            for what, old, new in differences(stored, again) if again else ():
                self._wrong(incumbency_key(generation), what, old, new)

    def _comparisons(self) -> None:
        scores = {stored.key: stored.score for stored in self.scores}
        for key, value in self._journal.rows("SELECT key, value FROM decisions WHERE key LIKE 'comparison/%'"):
            comparison = self._read(Comparison, value, key)
            if comparison is None:
                continue
            for arm in comparison.arms:
                name = comparison.candidate if arm.name == "candidate" else arm.name
                for index, trial in enumerate(arm.trials):
                    origin = FINAL_RANDOM if arm.name == "random" else f"final/{name}/{index}"
                    self._check_trial(f"{key}, {arm.name}", trial, origin, scores)
            selected_by = scores.get(comparison.candidate)
            self._check_statistics(key, comparison, selected_by.mean if selected_by else None)
            self._check_robustness(key, comparison, scores)

    def _check_robustness(self, where: str, comparison: Comparison, scores: dict[str, Score]) -> None:
        """Every figure in a held-out variation is that of its score."""
        for held in comparison.robustness.arms if comparison.robustness else ():
            copies = {o.name: (fmean(o.fitness), o.variation) for o in held.measured} | {NOMINAL: (held.nominal, None)}
            for name, copy in copies.items():
                known = scores.get(score_key(comparison.candidate, held.policy, name))
                if known is None or (known.mean, known.variation) != copy:
                    found = f"mean {known.mean}" if known else "no such score"
                    self._wrong(f"{where}, {held.arm}", f"its copy of the score in {name!r}", f"mean {copy[0]}", found)

    def _check_trial(self, where: str, trial: Trial, key: str, scores: dict[str, Score]) -> None:
        known = scores.get(key)
        if trial.score is not None and known is not None and trial.score != known:
            self._wrong(where, f"its copy of {key}", f"mean {trial.score.mean}", f"mean {known.mean}")
        elif trial.score is not None and known is None:
            self._wrong(where, f"its copy of {key}", f"mean {trial.score.mean}", "no such score")

    def _check_statistics(self, key: str, stored: Comparison, selected_by: float | None) -> None:
        """Computed again from its own trials and what selected the candidate."""
        seed = self.run.settings.derived_seed("bootstrap")
        arms = [measured_arm(arm.name, arm.trials, seed) for arm in stored.arms]
        again = compare(stored.candidate, arms[0], arms[1], arms[2], seed, selected_by)
        pairs = {
            f"{old.name}'s interquartile mean": (old.iqm, new.iqm) for old, new in zip(stored.arms, arms, strict=True)
        }
        pairs["over the human reward"] = (stored.over_human, again.over_human)
        pairs["over random play"] = (stored.over_random, again.over_random)
        if stored.optimism and again.optimism:
            pairs["selection optimism"] = (stored.optimism, again.optimism)
        for what, (old, new) in pairs.items():
            if not _equal(old, new, intervals=stored.method >= again.method):
                self._wrong(key, what, old, new)
        for old_arm, new_arm in zip(stored.arms, arms, strict=True):
            facts = ("success_rate", "policy", "policy_meta")
            for fact in facts:
                if getattr(old_arm, fact) != getattr(new_arm, fact):
                    what = f"{old_arm.name}'s {fact.replace('_', ' ')}"
                    self._wrong(key, what, getattr(old_arm, fact), getattr(new_arm, fact))


def _equal(old: Estimate, new: Estimate, intervals: bool) -> bool:
    """Intervals of a run that another version compared were made in another way; what they are around is the same."""
    pairs = ((old.value, new.value), *(((old.low, new.low), (old.high, new.high)) if intervals else ()))
    return all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in pairs)


def _few(seeds: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, seeds[:3]))}… ({plural(len(seeds), 'seed')})"


def _digest(text: str) -> str:
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]}…"


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
