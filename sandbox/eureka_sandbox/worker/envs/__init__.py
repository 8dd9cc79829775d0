"""Environments inside a box: N robots of one kind stepped as a batch.

`simulation.py` steps them, `robots/` says what each kind observes, earns and names, `task_state.py` adds a task's own
variables and termination, `vec_env.py` offers it all to Stable-Baselines3 with a reward function in the loop.
"""
