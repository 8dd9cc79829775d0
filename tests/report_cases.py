"""Parts of the tests of the report: runs worth looking at, a film, and text that wants to be markup."""

from __future__ import annotations

import dataclasses
import io
from functools import cache
from pathlib import Path

from llm_cases import search, small_run
from test_report import candidate, facts

from eureka_agent.lab.maps import Axis
from eureka_agent.lab.variations import Held, Outcome, Robustness
from eureka_agent.population import Candidate, Catch, Rung
from eureka_agent.report.facts import RunFacts, gather
from eureka_agent.report.maps import Surface
from eureka_agent.report.neighbours import Matrix, Neighbours
from eureka_agent.report.thoughts import Thought
from eureka_agent.search.contest import Incumbency
from eureka_agent.search.stopping import Stop
from eureka_agent.standing import Standing
from eureka_evaluation.finding import Finding
from eureka_sandbox.protocol import Failure, Variation, Verdict, Wall

TRANSCRIPT = Path(__file__).parent / "data" / "transcripts" / "hopper_forward"
HOSTILE = (
    "</pre></code></style></title></textarea></script><script>document.title='owned'</script>"
    "<img src=x onerror=document.title='owned'><svg onload=alert(1)>'\" onmouseover=alert(1) x=`{{ 7*7 }}{% raw %}"
    "&lt;b&gt;<!--]]>\u202e\u2066\u200b\ufeff\x1b[31m\x00"
)


def innocent(text: str) -> str:
    """Its twin: as long, with letters where the hostile text has marks."""
    return "".join(c if (c.isalnum() and c.isascii()) or c == " " else "x" for c in text)


@cache
def film() -> bytes:
    """An H.264 film of half a second."""
    import av
    import numpy as np

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            picture = np.full((48, 64, 3), 20 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def recorded_search(folder: Path) -> RunFacts:
    """A whole search: a language model's recorded answers, trained and compared in a sandbox that simulates nothing."""
    with small_run(folder, f"replay:{TRANSCRIPT}", population=4, final_seeds=2) as run:
        search(run)
        return filmed(gather(run))


def filmed(whole: RunFacts) -> RunFacts:
    """The same with films of both arms and of every candidate, and the wall of a sitting."""
    names = ["candidate", "human", *(c.id for c in whole.population.candidates)]
    wall = Wall(
        backend="embedded",
        tier="namespaces, seccomp filter",
        covers=("the network", "the host's files"),
        gaps=("unknown bugs of the kernel",),
        contained=30,
        probes=30,
        controls=7,
        seconds=0.4,
    )
    return dataclasses.replace(whole, films=dict.fromkeys(names, film()), walls=(wall,))


@cache
def poster() -> bytes:
    """A JPEG of the same size."""
    import numpy as np

    from eureka_sandbox.worker.video import still

    return still(np.tile(np.arange(64, dtype=np.uint8), (48, 1))[..., None].repeat(3, axis=2) * 3)


def surface(*terms: str, x: str = "torso_x_velocity", y: str = "torso_pitch") -> Surface:
    """A reward that pays for x and charges the square of y, on a grid of 9 × 9; where it failed, not a number."""
    places = [i / 4 - 1 for i in range(9)]
    pay = [[2 * a - b * b for a in places] for b in places]
    gone = [[float("nan") if a > 0.9 else a for a in places] for _ in places]
    grids = (pay, [[2 * a for a in places] for _ in places], gone)[: len(terms)]
    axes = (Axis(variable=x, low=-1.0, high=1.0), Axis(variable=y, index=(2,), low=-1.0, high=1.0))
    return Surface(*axes, terms, grids, visited=((0.0, 0.0), (0.5, -0.5), (7.0, 0.0)))


def matrix(*names: str, generation: int = 0) -> Matrix:
    """Made-up distances between so many rewards: STARC grows with how far apart they stand, EPIC is a tenth more."""
    size = len(names)
    starc = tuple(tuple(0.9 * abs(i - j) / size for j in range(size)) for i in range(size))
    epic = tuple(tuple(d + 0.1 if d else 0.0 for d in row) for row in starc)
    alignment = tuple(1 - 2 * i / size for i in range(size))
    return Matrix(generation, names, starc, epic, alignment, trajectories=120, left_out=0)


def looked_into(whole: RunFacts, text: str = "Half of the episodes end within 212 of 1000 steps.") -> RunFacts:
    """The same with all that analysis, contests and held-out variations have to say; `text` wherever words go."""
    finding, worse = Finding("ends_early", 0.5, text), Finding("fitness_falls", 0.9, text, {"share": 0.5})

    def seen(c: Candidate) -> Candidate:
        rungs = (Rung(timesteps=1000, fitness=1.0, own_return=2.0),)
        told = {"findings": (finding,), "suspicions": (worse, finding), "commentary": text, "rungs": rungs}
        return c.model_copy(update=told | {"stopped": c.id == "g0c1" and c.failure is None})

    population = whole.population.with_(candidates=tuple(map(seen, whole.population.candidates)))
    best = whole.comparison.candidate if whole.comparison else "g0c0"
    first = Standing(id=best, screening=9.0, later=(4.0, 6.0))
    held = Incumbency(
        id=best, before=None, standings=(first, Standing(id="g0c1", screening=8.0)), reason=text, optimism=4
    )
    comparison = whole.comparison
    if comparison:
        outcomes = (
            Outcome(name="heavy", variation=Variation(mass=1.2), fitness=(1.0, 3.0), success_rate=0.5),
            Outcome(name="late", variation=Variation(delay=1), failure=Failure(verdict=Verdict.TIME, message=text)),
        )
        arms = [Held(arm=arm, policy="0" * 64, nominal=4.0, outcomes=outcomes) for arm in ("candidate", "human")]
        comparison = comparison.model_copy(update={"robustness": Robustness(seeds=(1, 2), arms=tuple(arms))})
    return dataclasses.replace(
        whole,
        population=population,
        comparison=comparison,
        posters=dict.fromkeys(whole.films, poster()),
        surfaces={"candidate": (surface("total", "speed", "fall"),), "human": (surface("total"),)},
        neighbours={best: Neighbours((("g0c1", 0.25),), 0.5, None)},
        matrices=(matrix(best, "g0c0", "g0c1", "human", "metric"), matrix("g0c1", "human", generation=1)),
        contests=(held,),
        stop=Stop(reason=text, steps=1, seconds=1.0),
    )


def half_done() -> RunFacts:
    """Some candidates measured, one failed, one repaired, none compared."""
    catch = Catch(gate="smoke", reason="the total is 1 on all transitions", mended=True, pointless=True)
    mended = candidate(2, 2.0).model_copy(update={"catches": (catch,)})
    same = candidate(3, 2.0).model_copy(update={"duplicate_of": "g0c2"})
    child = candidate(0, 5.0, generation=1, code=mended.code.replace("return", "# faster\n    return"))
    return facts(candidate(0, 3.0), candidate(1, None), mended, same, child)


def tainted(text: str) -> RunFacts:
    """A finished run in which `text` stands wherever a model, a reward, a box or a file could have put it."""
    code = f'def compute_reward(torso_x_velocity):\n    """{text}"""\n    # {text}\n    return torso_x_velocity, {{}}\n'

    def spoilt(c: Candidate) -> Candidate:
        training = c.training and c.training.model_copy(
            update={"curves": {**c.training.curves, f"reward/{text}": [None, 1.0, 2.0, 3.0]}, "versions": {text: text}}
        )
        catch = Catch(gate="critic", reason=text, fatal=False)
        reflection = f"{text}\nFindings:\n  - {text}\n"
        return c.model_copy(update={"training": training, "catches": (catch,), "reflection": reflection})

    candidates = [candidate(0, 3.0, code=code, text=text), candidate(1, None, code=code, text=text)]
    child = candidate(0, 4.0, generation=1, code=code.replace("return", f"# {text}\n    return"), text=text)
    whole = looked_into(filmed(facts(*map(spoilt, [*candidates, child]), human=1.0, text=text)), text)
    metric = whole.task.spec.metric.model_copy(update={"meaning": text, "success": text, "name": text})
    spec = whole.task.spec.model_copy(update={"description": text, "metric": metric})
    wall = whole.walls[0].model_copy(update={"tier": text, "image": text, "covers": (text,), "gaps": (text,)})
    return dataclasses.replace(
        whole,
        task=dataclasses.replace(whole.task, name=text, spec=spec, files={**whole.task.files, text: b""}),
        settings=whole.settings.model_copy(update={"model": text, "prompts": text}),
        thoughts={c.id: Thought(text, text) for c in whole.population.candidates},
        films={"candidate": film()},
        surfaces={"candidate": (surface(text, text, text, x=text, y=text),), "human": (surface(text),)},
        versions={text: text},
        walls=(wall,),
    )
