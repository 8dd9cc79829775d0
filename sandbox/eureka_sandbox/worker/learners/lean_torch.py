"""Keeps torch from importing its compiler (0.8 s and 70 MB in every worker) for an optimizer that never uses it."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Adam, Optimizer


def skip_dynamo() -> None:
    """Let optimizers be built, saved, loaded and stepped without `torch._dynamo`; idempotent.

    torch wraps these methods so that `torch.compile` does not trace into them, and imports its compiler at the first
    call to do so (torch/_compile.py). The wrapper looks for a prepared function first: give it the plain one. Another
    wrapper, around `step`, needs it only to tell a tracing compiler where to stop (torch/optim/optimizer.py); it is
    replaced for the optimizer of all our learners, unless one has been built before.
    """
    for method in (Optimizer.add_param_group, Optimizer.state_dict, Optimizer.load_state_dict, Optimizer.zero_grad):
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:
            setattr(plain, "__dynamo_disable", plain)
    plain = getattr(Adam.step, "__wrapped__", None)
    if plain is not None and not hasattr(Adam.step, "hooked"):

        def step(self: Adam, *arguments: Any, **named: Any) -> Any:
            with torch.set_grad_enabled(self.defaults["differentiable"]):
                return plain(self, *arguments, **named)

        Adam.step = step  # type: ignore[method-assign]
