"""Where rewards are measured: each is trained in box A and its policy scored in box B, side by side over the cores.

Every stage is journaled under its key as soon as it ends, and looked up there first, so nothing finished runs twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eureka_agent.contract.task import FILES
from eureka_agent.errors import BudgetExhausted, EnvironmentMissing, EurekaError
from eureka_agent.lab.bank import bank_of
from eureka_agent.lab.boxes import Boxes
from eureka_agent.lab.filming import FILM, FRAMES, films_of
from eureka_agent.lab.floor import FLOOR, RANDOM, RECORDED_EPISODES, ZERO, Floor, floor_of
from eureka_agent.lab.generation import raced
from eureka_agent.lab.held_out import held_out
from eureka_agent.lab.jobs import (
    CHECKPOINT_SECONDS,
    STARTUP_SECONDS,
    smoke_job,
    train_job,
    training_limits,
    warm_up_job,
)
from eureka_agent.lab.judging import judge
from eureka_agent.lab.racing import RUNG_EPISODES, racing_note
from eureka_agent.lab.scores import box_name, evaluation_seeds, reward_digest, score_record, scoring_job
from eureka_agent.lab.task_faults import blame_the_task, task_error
from eureka_agent.lab.variations import Robustness
from eureka_agent.lab.wall import described, proven_wall
from eureka_agent.lab.warm import warm_start
from eureka_agent.population import Candidate, Population, Score, Training
from eureka_agent.runs.run import Run
from eureka_agent.runs.sittings import sit_down
from eureka_agent.search.comparison import Arm, Comparison, Trial, compare, measured_arm
from eureka_agent.settings import Recipe
from eureka_agent.terminal.watcher import Silent, Watcher
from eureka_agent.text import plural
from eureka_sandbox.backends import BACKENDS, compile_cache
from eureka_sandbox.protocol import (
    Failed,
    Failure,
    Sandbox,
    SmokeResult,
    TrainResult,
    Verdict,
    VideoSpec,
    Wall,
)

UNSHOWN = (RANDOM, ZERO, FILM, FRAMES, "variation/")
"""Keys of scorings that no table of candidates needs, by how they begin."""
SMOKE_SECONDS = 60
"""A smoke test starts in 1 to 10 s on a busy machine; its 128 calls take 0.05 s, or the reward is too slow."""


class Lab:
    """Runs a run's trainings and scorings in a sandbox."""

    def __init__(self, sandbox: Sandbox, run: Run, jobs: int | None = None, watcher: Watcher | None = None) -> None:
        """Settle how many boxes run side by side.

        Raises:
            EnvironmentMissing: the memory does not hold them.
        """
        self.sandbox = sandbox
        self.run = run
        self.watcher: Watcher = watcher or Silent()
        self.recipe = Recipe.of(run.task, run.settings)
        self.boxes = Boxes(sandbox, run, self.watcher, jobs or run.settings.jobs)
        self.wall: Wall | None = None
        """What the self-test of this sitting found; None before `begin`."""
        self.ask: Callable[[Population], str] | None = None
        """Asks a person at the terminal after each generation, see `people`."""
        self.incumbent: Candidate | None = None
        """The best of the generations before, which `propose` knows: rewards are tried on its episodes, too."""
        self._ground = threading.RLock()
        self._warm = False

    def measure(self, candidates: Sequence[Candidate], population: Population) -> list[Candidate]:
        """Train and score each candidate once; those that come with a failure are only stored.

        Args:
            candidates: of one generation.
            population: the generations before.

        Raises:
            BudgetExhausted: `max_seconds` is reached; what had finished is saved.
            EnvironmentMissing: the sandbox failed again and again.
            TaskError: every one of them failed in the task's own files, and so does a training without their code.
        """
        self.watcher.generation(candidates[0].brief.generation, candidates)
        originals = [c for c in candidates if c.duplicate_of is None]
        known = {c.id: c for c in raced(self, originals)}
        measured = [self._likewise(c, known) for c in candidates]
        blame_the_task(self, measured)
        judge(self, measured, population)
        return measured

    def _likewise(self, candidate: Candidate, known: Mapping[str, Candidate]) -> Candidate:
        """The candidate as it was measured, or as the one was that it duplicates."""
        if candidate.duplicate_of is None:
            return known[candidate.id]
        original = known.get(candidate.duplicate_of) or self.run.candidate(candidate.duplicate_of)
        measured = ("training", "score", "failure", "rungs", "stopped")
        candidate = candidate.model_copy(update={name: getattr(original, name) for name in measured})
        self.run.save(candidate)
        self.watcher.stage(f"{candidate.id} {candidate.likeness}, and is not trained again")
        self.watcher.finished(candidate)
        return candidate

    def train_to(self, candidate: Candidate, key: str, stop_at: int | None) -> Trial:
        """The candidate's training to a rung, or to its end; all of them go on from one another."""
        seed = self.run.settings.derived_seed("train", candidate.id)
        return self.trial(key, candidate.code, seed, candidate.id, stop_at)

    def begin(self) -> None:
        """What comes before the first candidate of a sitting: the wall proves itself, and the floor is known.

        Raises:
            EnvironmentMissing: the wall leaks, or this machine cannot have it.
            TaskError: the task's metric tells nothing about learning.
        """
        sit_down(self.run, self.boxes.jobs)
        self.wall = proven_wall(self.run, self.sandbox)
        self.watcher.stage(f"sandbox: {described(self.wall)}")
        if note := racing_note(self.run.settings, self.recipe):
            self.watcher.stage(note)
        self.floor()

    def floor(self) -> Floor:
        """Play without learning, scored once per run.

        Raises:
            TaskError: the task's metric fails on it, or tells nothing about learning.
        """
        with self._ground:  # several rewards may want it first
            return self.run.decide(FLOOR, Floor, self._measure_floor)

    def bank(self, best: Candidate | None = None) -> bytes:
        """The transitions on which this generation's rewards are tried, see `eureka_sandbox.bank`.

        `best` is the best candidate of the generations before.
        """
        with self._ground:
            return bank_of(self.run, best, self.floor)

    def smoke(self, code: str) -> SmokeResult | Failure:
        """Call a reward on the bank, in a box without a simulator; nothing is journaled."""
        limits = self.boxes.limits(SMOKE_SECONDS)
        outcome = self.boxes.run(
            "smoke", "a smoke test", smoke_job(self.run.task, code, self.bank(self.incumbent), limits), shown=False
        )
        if isinstance(outcome, Failed):
            return outcome.failure
        assert isinstance(outcome.result, SmokeResult)
        return outcome.result

    def compare(self, best: Candidate) -> Comparison:
        """The final comparison: fresh trainings of the best and the human reward with the same seeds, and random play.

        Raises:
            EurekaError: every training of an arm failed.
        """
        settings = self.run.settings
        trainings = plural(settings.final_seeds, "training")
        self.watcher.stage(f"comparing {best.id} with the human reward and a random policy: {trainings} each")
        codes = {best.id: best.code, "human": self.run.task.human_reward}
        keys = [(name, index) for index in range(settings.final_seeds) for name in codes]

        def trial(key: tuple[str, int] | None) -> Trial:
            if key is None:
                name, ended = "final/random", self._random_trial()
            else:
                name, seed = f"final/{key[0]}/{key[1]}", settings.derived_seed("final", key[1])
                ended = self.trial(name, codes[key[0]], seed)
            self.watcher.concluded(name, ended)
            return ended

        random, *trained = self.boxes.side_by_side(trial, [None, *keys])
        seed = settings.derived_seed("bootstrap")
        of = {name: tuple(t for t, key in zip(trained, keys, strict=True) if key[0] == name) for name in codes}
        for name, trials in of.items():
            if not any(t.score for t in trials):
                raise EurekaError(f"every final training of {name} failed: {trials[0].failure}")
        arms = [measured_arm("candidate", of[best.id], seed), measured_arm("human", of["human"], seed)]
        candidate, human = films_of(self, arms)
        robustness = self._held_out(best, (candidate, human))
        promised = None if best.stopped else best.fitness
        compared = compare(best.id, candidate, human, measured_arm("random", (random,), seed), seed, promised)
        return compared.model_copy(update={"robustness": robustness})

    def _held_out(self, best: Candidate, arms: Sequence[Arm]) -> Robustness | None:
        """Both policies in worlds that they were not trained in; None without such worlds, or without time."""
        if not self.run.settings.exhibits or self.boxes.stopping.is_set():  # as the time ran out while filming
            return None
        try:
            return held_out(self, best.id, arms)
        except (BudgetExhausted, EnvironmentMissing):
            return None

    def trial(
        self, key: str, code: str | None, seed: int, place: str | None = None, stop_at: int | None = None
    ) -> Trial:
        """Train with a reward (None: the environment's own) and score the policy.

        Args:
            key: where training and score are journaled.
            code: the reward's.
            seed: of the training.
            place: whose checkpoint it goes on from, and under whose name it is shown; `key` unless it is one of several
                rungs of a training.
            stop_at: environment steps of the rung; None: to the end.
        """
        training = self.train_reward(key, code, seed, place, stop_at)
        if isinstance(training, Failure):
            return Trial(training=None, score=None, failure=training)
        score = self.score_policy(key, training, place, RUNG_EPISODES if stop_at else None)
        if isinstance(score, Failure):
            return Trial(training=training, score=None, failure=score)
        return Trial(training=training, score=score)

    def train_reward(
        self, key: str, code: str | None, seed: int, place: str | None = None, stop_at: int | None = None
    ) -> Training | Failure:
        """Box A, once per key."""
        known = self.run.training(key)
        if known is None:
            known = self._train(place or key, code, seed, stop_at)
            self.run.save_training(key, known)
        return known

    def score_policy(
        self, key: str, training: Training, place: str | None = None, most: int | None = None
    ) -> Score | Failure:
        """Box B, once per key, on evaluation seeds drawn now, at most so many."""
        return self.scored(key, training, evaluation_seeds(self.run, key, most), place=place)

    def scored(
        self,
        key: str,
        training: Training | None,
        seeds: tuple[int, ...],
        video: VideoSpec | None = None,
        place: str | None = None,
        again: bool = False,
        **play: Any,
    ) -> Score | Failure:
        """Box B, once per key, on these reset seeds.

        Args:
            key: where the score is journaled.
            training: whose policy plays; None: play without learning.
            seeds: one per episode.
            video: how its median episode is filmed, if it is.
            place: under whose name it is shown; `key` unless it is one of several scores of a training.
            again: play in place of what is known.
            play: see `scoring_job`.
        """
        known = None if again else self.run.score(key)
        if known is not None:
            return known
        job = scoring_job(self.run, training, seeds, self.boxes.memory_mb, video, **play)
        outcome = self.boxes.run(place or key, "scoring", job, shown=not key.startswith(UNSHOWN))
        if isinstance(outcome, Failed):
            score: Score | Failure = outcome.failure
        else:
            score = score_record(self.run, key, training, job, outcome, box_name(self.sandbox, self.wall))
        self.run.save_score(key, score)
        return score

    def random_score(self, key: str = "final/random") -> Score:
        """Score uniform random actions.

        Raises:
            EurekaError: task.py failed on them.
        """
        score = self.scored(key, None, evaluation_seeds(self.run, key))
        if isinstance(score, Failure):
            raise EurekaError(f"scoring a random policy failed: {score}")
        return score

    # ------------------------------------------------------------------------------------------------------- boxes

    def _measure_floor(self) -> Floor:
        self.watcher.stage("scoring play without learning: random actions, and none")

        def score(key: str) -> Score | Failure:
            play = {"idle": True} if key == ZERO else {"record_episodes": RECORDED_EPISODES}
            return self.scored(key, None, evaluation_seeds(self.run, key), **play)

        floor = floor_of(self.run, *self.boxes.side_by_side(score, [RANDOM, ZERO]))
        for warning in floor.warnings:
            self.watcher.stage(f"{self.run.task.name}: {warning}; is the metric what you mean?")
        return floor

    def _random_trial(self) -> Trial:
        return Trial(training=None, score=self.random_score())

    def _warm_up(self) -> None:
        """Before a sitting's first training: compile what all trainings share, where no candidate's code is near.

        Without it, or if it fails, every box compiles for itself.

        Raises:
            TaskError: it failed in the task's files; as there is no other code in its box, that can be believed.
        """
        with self._ground:
            if self._warm or self.sandbox.name not in BACKENDS:
                return
            self._warm = True
            job = warm_up_job(self.run.task, self.recipe, self.boxes.limits(STARTUP_SECONDS))
            if compile_cache.is_cold(job, (self.wall.image if self.wall else "") or self.sandbox.name):
                self.watcher.stage("compiling the learner, once for this recipe")
                outcome = self.boxes.run("warm-up", "the warm-up", job, shown=False)
                if isinstance(outcome, Failed) and outcome.failure.file in FILES:
                    raise task_error(self.run.task.name, outcome.failure)

    def _train(self, place: str, code: str | None, seed: int, stop_at: int | None) -> Training | Failure:
        self._warm_up()
        limits = training_limits(self.recipe, self.boxes.memory_mb, self.run.settings.wall_seconds)
        every = CHECKPOINT_SECONDS
        job = train_job(
            self.run.task, self.recipe, code, seed, limits=limits, checkpoint_seconds=every, stop_at=stop_at
        )
        warm = warm_start(self.run, place)
        job = replace(job, files={**job.files, **warm.files})
        outcome = self.boxes.run(place, "training", job)
        if isinstance(outcome, Failed):
            return outcome.failure
        result, blobs = outcome.result, outcome.blobs
        if not isinstance(result, TrainResult) or not {"policy.safetensors", "policy.json"} <= blobs.keys():
            return Failure(verdict=Verdict.BAD_RESULT, message="the training ended without a policy")
        if result.checkpoint_note:
            self.watcher.stage(f'{place}: its box says of its checkpoint: "{result.checkpoint_note}"')
        return Training(
            seed=seed,
            **result.model_dump(),
            policy=self.run.put_blob(blobs["policy.safetensors"]),
            policy_meta=self.run.put_blob(blobs["policy.json"]),
            reward=reward_digest(code),
            warm_start=warm.parent,
            box_seconds=self.boxes.training_seconds[place],
        )
