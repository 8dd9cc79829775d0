"""The design that tampering breaks: the policy is scored by the process that trained it. For comparison only.

`python one_process_cases.py FOLDER` takes `policy.*` and `task.py` from the folder and prints, as JSON, what each trick
of category F makes of that policy's score when it runs in the process that scores.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy
import torch

from eureka_sandbox.hostile import load_corpus
from eureka_sandbox.hostile.corpus import Case
from eureka_sandbox.hostile.probe import tampering
from eureka_sandbox.hostile.tamper import score_job
from eureka_sandbox.worker import scoring

FORGERIES = load_corpus()["F"]


def score_after(case: Case, folder: Path) -> float:
    """Call the reward once, then score, all in this process."""
    space: dict[str, Any] = {}
    exec(compile(tampering(case), "reward.py", "exec"), space)
    space["compute_reward"](torch.zeros(2), torch.zeros(2))
    spec = score_job({}, case.limits).spec
    result, _ = scoring.score(spec, folder, None)  # type: ignore[arg-type]
    return float(numpy.mean(result.fitness))


def in_a_child(case: Case, folder: Path) -> float:
    """The same in a process of its own, which the trick cannot leave."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, str(score_after(case, folder)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.wait()
    return float(text)


if __name__ == "__main__":
    torch.set_num_threads(1)
    tricks = [FORGERIES.control, *(case for case in FORGERIES.cases if case.in_one_process)]
    sys.stdout.write(json.dumps({case.name: in_a_child(case, Path(sys.argv[1])) for case in tricks}))
