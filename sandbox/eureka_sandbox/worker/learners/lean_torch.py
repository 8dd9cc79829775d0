"""Keeps torch from importing its compiler (0.8 s and 70 MB in every worker) for an optimizer that never uses it."""

from __future__ import annotations

from torch.optim import Optimizer


def skip_dynamo() -> None:
    """Let optimizers be built, saved and loaded without `torch._dynamo`; idempotent.

    torch wraps these methods so that `torch.compile` does not trace into them, and imports its compiler at the first
    call to do so (torch/_compile.py). The wrapper looks for a prepared function first: give it the plain one.
    `Optimizer.step`, which only SB3's own learners call, still imports it.
    """
    for method in (Optimizer.add_param_group, Optimizer.state_dict, Optimizer.load_state_dict):
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:
            setattr(plain, "__dynamo_disable", plain)
