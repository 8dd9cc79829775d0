"""Everything that stops a command, in one tree. A candidate that fails is not an error: it is a state with a verdict.

EurekaError                exit 1   the run failed
├── UsageError             exit 2   a wrong argument, task file or setting; says file, field, value, next step
│   ├── TaskError                   a task folder that does not hold together
│   └── OutOfAnswers                a script has no answer for a candidate; `eureka bench` ends that search alone
├── BudgetExhausted        exit 3   a cap was reached; the best so far is saved
│   └── Paused                      a language model's provider keeps the search from going on, until a person acts
├── EnvironmentMissing     exit 4   something this machine lacks (memory, a library, an engine)
└── RunError               exit 1   a run folder that cannot be read or written
"""

from __future__ import annotations


class EurekaError(Exception):
    """Base: the message is one line for a person, and `exit_code` is what the process ends with."""

    exit_code = 1


class UsageError(EurekaError):
    """A wrong argument or setting."""

    exit_code = 2


class TaskError(UsageError):
    """A task folder that does not hold together."""


class OutOfAnswers(UsageError):
    """A script has no answer for a candidate."""


class BudgetExhausted(EurekaError):
    """A cap was reached; the best so far is saved."""

    exit_code = 3


class Paused(BudgetExhausted):
    """The search cannot go on until a person acts; the best so far is saved."""


class EnvironmentMissing(EurekaError):
    """This machine lacks something the command needs."""

    exit_code = 4


class RunError(EurekaError):
    """A run folder that cannot be read, written or understood."""
