"""Parts of the tests of the report: runs worth looking at, a film, and text that wants to be markup."""

from __future__ import annotations

import dataclasses
import io
from functools import cache
from pathlib import Path

from llm_cases import search, small_run
from test_report import candidate, facts

from eureka_agent.population import Candidate, Catch
from eureka_agent.report.facts import RunFacts, gather
from eureka_agent.report.thoughts import Thought
from eureka_sandbox.protocol import Wall

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
    whole = filmed(facts(*map(spoilt, [*candidates, child]), human=1.0, text=text))
    metric = whole.task.spec.metric.model_copy(update={"meaning": text, "success": text, "name": text})
    spec = whole.task.spec.model_copy(update={"description": text, "metric": metric})
    wall = whole.walls[0].model_copy(update={"tier": text, "image": text, "covers": (text,), "gaps": (text,)})
    return dataclasses.replace(
        whole,
        task=dataclasses.replace(whole.task, name=text, spec=spec, files={**whole.task.files, text: b""}),
        settings=whole.settings.model_copy(update={"model": text, "prompts": text}),
        thoughts={c.id: Thought(text, text) for c in whole.population.candidates},
        films={"candidate": film()},
        versions={text: text},
        walls=(wall,),
    )
