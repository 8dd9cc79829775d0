"""What docs/bench.md says above each table.

Goals were set before measuring; Ant's and Walker2d's distances in (c) after looking at our own learning curves on one
seed, and before any figure of Stable-Baselines3's.
"""

GOALS = """## Goals

Set before measuring, but for two distances and a recipe in (c), which says so. *Not settled*: the interval reaches to
the other side of the limit.
"""

STEPPING = """8 robots, one thread, the same states and random actions for all; CPU time, rounds interleaved. The share
is taken within each round. EnvPool and our `VecEnv` reset by themselves. Goal: at least 0.8 of bare `mj_step`.
"""

TRAINING = """PPO on the native reward, or on one that a language model wrote
([answers](../evaluation/bench/answers/README.md)), called as in a search; whole iterations (rollout and update) after
the first, which warms up or compiles. Our recipe is that of the shipped tasks: 8 environments, 256 steps, minibatches
of 64, 10 epochs, normalised observations and rewards; SB3's defaults are 2048 steps per environment, the same
minibatches and epochs. The first iteration is as long as a rollout: 2048 steps with our recipe, 2048 per environment
with the defaults. Goal: at least 6 times SB3's defaults with 4 environments.
"""

FITNESS = """Wall time from process start (imports and compilation included) until the deterministic policy reaches the
goal on {episodes} new episodes, judged every {every:,} steps by the same code for both, on our simulators; the clock
stands still meanwhile. Native reward, one core each. Ours: the recipe of the shipped task, or the one below. SB3:
`PPO("MlpPolicy")` with its defaults, 4 Gymnasium environments in a `DummyVecEnv` under `Monitor`. Compiled programs are
cached on disk, as they are for everybody after a first training. SB3 is stopped after {censor:g} times our median time
on the goal: its time is then a lower bound, and so is the ratio. Ours is stopped after {budget:g} million steps. Goals:
at least 6 times SB3 everywhere; Hopper in at most 30 s. What the faster steps alone are worth is in the last column,
environment steps per second of ours over SB3's, all of the above included; the rest is the recipe's. {share} of the
time of a run was processor time, the least of them {least}. The distances for Ant and Walker2d, and Ant's recipe, were
chosen after looking at our own curves on seed 0, before any figure of SB3's.
"""

FINAL = """The policy that a box exports after {timesteps:,} steps on the native reward, scored on 30 new episodes:
interquartile mean over seeds and episodes with a stratified bootstrap interval (Student's below five seeds); higher is
better. Both learners have the same recipe, engine and seeds. The difference is that of the seeds' means, paired, with
Student's interval. Goal: not worse than SB3's.
"""

SEARCHES = """`offline` searches as `eureka evolve` runs them, report included. Goal: 8 × 5 × 1M in at most 22 min.
"""

EVERY_STEP = "each candidate trained once and to the end (`--racing none --contest-seeds 1`)"
BY_DEFAULT = "racing and contests as by default"

SEARCH = """
`{task}`, 8 candidates × {generations} × {timesteps:,} steps on {jobs} cores, {manner}, {runs}: **{wall} min**, of
which {search} min search ({millions} million steps) and {comparison} min for its end (the final comparison with 6 more
trainings, other worlds, films and maps).{projection}{bare}
"""

PROJECTION = " Five generations take five times the search, {whole} min, and the end."

BARE = """ Bare `mj_step` on as many cores, at its speed in (a), measured at another hour, would take
{minutes} min for the steps of the search alone."""

SCALING = """One generation of an `offline` search on `{task}`, every candidate trained to the end, from selection to
the last reward judged.
"""

MEMORY = """Peak resident memory of a training box ({timesteps:,} steps), goal: at most 800 MB; and what a box takes
besides its training, from when the host asks for it to the first step (goal: 2.5 s) and from the last step to its end.
The first box of a process waits for what all import; later ones are forked from a process that has imported it.
"""
