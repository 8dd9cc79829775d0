"""Boxes that a forkserver starts: their imports are shared, and nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest
from backend_cases import TRAIN

from eureka_sandbox.backends import compile_cache, embedded, forked, local
from eureka_sandbox.backends.embedded import EmbeddedSandbox
from eureka_sandbox.backends.forked import NOTHING
from eureka_sandbox.backends.job_folder import JOB, SCRATCH, job_folder
from eureka_sandbox.backends.local import SHARED, Place, box_environment
from eureka_sandbox.backends.process import BoxProcess
from eureka_sandbox.backends.process_table import ProcessTable
from eureka_sandbox.backends.unwalled import UnwalledSandbox
from eureka_sandbox.protocol import (
    EnvironmentSpec,
    Failed,
    Finished,
    Job,
    JobStopped,
    Limits,
    SandboxError,
    TrainSpec,
)

LIMITS = Limits(wall_seconds=60)
RUN = (*SHARED, "timeit", "-n", "1", "-r", "1")
"""A module of the standard library that runs what it is given."""


@pytest.fixture(params=["none", "embedded"])
def walled(request: pytest.FixtureRequest) -> bool:
    if request.param == "embedded":
        request.getfixturevalue("embedded_wall")
    return bool(request.param == "embedded")


def server(environment: Mapping[str, str], walled: bool, kind: str = NOTHING) -> forked.Forkserver:
    found = forked.forkserver(kind, environment, sealed=walled, stop=Event())
    assert found is not None
    return found


@contextmanager
def box(script: str, walled: bool, kind: str = NOTHING, **environment: str) -> Iterator[BoxProcess]:
    """A forked box that runs a script."""
    with job_folder(TRAIN) as folder:
        scratch = str(folder / JOB / SCRATCH)
        place = embedded._walled(folder) if walled else Place(str(folder), scratch, box_environment(scratch, "", {}))
        everything = {**place.environment, **environment}
        command = [*RUN, textwrap.dedent(script)]
        parent = server(everything, walled, kind)
        with BoxProcess(command, place.scratch, everything, LIMITS, place.wall, parent) as it:
            assert it.forked
            yield it


def told(script: str, walled: bool, kind: str = NOTHING, **environment: str) -> Any:
    """What a script in a forked box prints as its first line, which is JSON."""
    with box(script, walled, kind, **environment) as it:
        printed = it.stdout.read()
        assert it.wait(10) == 0, it.stderr.read()
    return json.loads(printed.splitlines()[0])


def parent_of(box: BoxProcess) -> int:
    """The process that started a box's supervisor."""
    return int(Path(f"/proc/{box._supervisor.pid}/stat").read_text().rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (done := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return done


def test_a_box_has_the_environment_folder_arguments_and_streams_of_its_own(walled: bool) -> None:
    facts = told(
        """
        import os, sys, json, tempfile
        print("to stderr", file=sys.stderr)
        print(json.dumps([dict(os.environ), os.getcwd(), sys.argv[0], os.path.samefile(tempfile.gettempdir(), "."),
                          sorted(map(int, os.listdir("/proc/self/fd")))[:-1], os.getsid(0) == os.getpid(),
                          os.popen("echo $EUREKA_NOTE").read()]))
        """,
        walled,
        EUREKA_NOTE="one",
    )
    environment, folder, program, own_scratch, descriptors, leads, heard = facts
    assert environment.pop("EUREKA_NOTE") == "one"
    assert "PATH" not in environment or walled
    assert folder == environment["HOME"] == environment["TMPDIR"]
    assert program.endswith("timeit.py")
    assert own_scratch
    assert descriptors == [0, 1, 2]
    assert leads
    assert heard == "one\n"


def test_boxes_of_one_kind_have_one_parent_and_see_nothing_of_each_other(walled: bool) -> None:
    leave = "import sys, os, builtins; builtins.trace = 1; os.environ['TRACE'] = '1'; print('[]', flush=True)"
    with box(leave + "; import time; time.sleep(30)", walled) as first:
        first.stdout.readline()
        look = "import builtins, os, json; print([hasattr(builtins, 'trace'), 'TRACE' in os.environ], flush=True)"
        with box(look + "; import time; time.sleep(30)", walled) as second:
            assert second.stdout.readline() == b"[False, False]\n"
            assert parent_of(first) == parent_of(second) != os.getpid()


def test_what_its_kind_needs_is_there_and_nothing_has_started_a_thread(walled: bool) -> None:
    names = ("torch", "stable_baselines3", "mujoco", "jax", "torch._dynamo", "eureka_sandbox.worker.training")
    look = f"""
        import sys, os, json
        print(json.dumps([[name in sys.modules for name in {names}], len(os.listdir("/proc/self/task"))]))
        """
    assert told(look, walled, "train") == [[True, True, True, True, False, True], 1]
    assert told(look, walled, "score") == [[False, False, True, False, False, False], 1]
    assert told(look, walled) == [[False] * 6, 1]
    for kind in ("train", "score"):  # a fork has but one thread, whatever its parent has
        with box("import time; print(1, flush=True); time.sleep(60)", walled, kind) as it:
            it.stdout.readline()
            assert len(os.listdir(f"/proc/{parent_of(it)}/task")) == 1


THREADED = """
import sys, threading, types
module = types.ModuleType("threaded")
module.preload = lambda kind: threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()
sys.modules["threaded"] = module
from eureka_sandbox.backends import forkserver
forkserver.PRELOAD = "threaded"
forkserver.serve(sys.argv[1])
"""


def test_a_forkserver_whose_imports_start_a_thread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "SERVE", (sys.executable, "-c", THREADED))
    with pytest.raises(forked.NoFork, match="has started a thread"):
        forked.Forkserver(NOTHING, box_environment("/nonexistent", "", {}), sealed=False).wait(Event())


@pytest.mark.parametrize(
    ("script", "returncode"),
    [("import os; os.kill(os.getpid(), 9)", -9), ("import os; os._exit(4)", 4), ("import os; os.abort()", -6)],
)
def test_how_a_box_ended_is_told(script: str, returncode: int, walled: bool) -> None:
    with box(script, walled) as it:
        assert it.stdout.read() == b""
        assert it.wait(10) == returncode


@pytest.mark.parametrize(
    ("command", "returncode", "said"),
    [
        ([*SHARED, "no_such_module"], 1, b"No module named no_such_module"),
        ([*SHARED, "json.tool", "/none"], 2, b"none"),
    ],
    ids=["no module", "usage"],
)
def test_a_module_that_cannot_run_ends_as_it_would_if_python_had_been_executed(
    command: list[str], returncode: int, said: bytes
) -> None:
    with job_folder(TRAIN) as folder:
        environment = box_environment(str(folder), "", {})
        parent = server(environment, walled=False)
        with BoxProcess(command, str(folder), environment, LIMITS, None, parent) as it:
            printed = it.stderr.read()
            assert it.wait(10) == returncode
    assert said in printed


def test_a_box_that_is_ended_leaves_nothing_behind(walled: bool) -> None:
    with box("import os, time; os.fork(); os.setsid() if os.fork() == 0 else 0; print(1, flush=True); time.sleep(60)",
             walled) as it:  # fmt: skip
        it.stdout.readline()
        below = ProcessTable().descendants(it._supervisor.pid)
        assert len(below) >= 3
    assert until(lambda: not any(alive(process.pid) for process in below), 2)


@pytest.mark.usefixtures("embedded_wall")
def test_the_program_of_a_walled_box_cannot_be_written_where_it_was_started_from() -> None:
    look = """
        import os, json, errno
        def error(action, *arguments):
            try:
                action(*arguments)
            except OSError as problem:
                return errno.errorcode[problem.errno]
        mounts = [line.split() for line in open("/proc/self/mountinfo")]
        print(json.dumps([error(os.open, "/proc/self/exe", os.O_WRONLY), error(os.chmod, "/proc/self/exe", 0o755),
                          error(os.open, os.readlink("/proc/self/exe"), os.O_WRONLY)]))
        """
    assert all(refused in ("EACCES", "EPERM", "EROFS", "ETXTBSY") for refused in told(look, walled=True))
    parent = server(embedded._walled(Path("/nonexistent")).environment, walled=True).pid
    mounts = [line.split() for line in Path(f"/proc/{parent}/mountinfo").read_text().splitlines()]
    program = os.readlink(f"/proc/{parent}/exe")
    under = [mount for mount in mounts if program.startswith(mount[4].rstrip("/") + "/")]
    assert "ro" in max(under, key=lambda mount: len(mount[4]))[5].split(",")


@pytest.mark.usefixtures("embedded_wall")
def test_a_forkserver_that_is_killed_takes_its_boxes_along_and_the_next_box_has_another() -> None:
    with box("import time; print(1, flush=True); time.sleep(60)", walled=True) as it:
        it.stdout.readline()
        below = ProcessTable().descendants(it._supervisor.pid)
        parent = parent_of(it)
        os.kill(parent, signal.SIGKILL)
        with pytest.raises(SandboxError, match="killed from outside"):
            it.wait(10)
    assert until(lambda: not any(alive(process.pid) for process in below), 5)
    with box("import time; print(1, flush=True); time.sleep(60)", walled=True) as it:
        it.stdout.readline()
        assert parent_of(it) not in (parent, os.getpid())


SPEC = TrainSpec(
    environment=EnvironmentSpec(body="inverted_pendulum", max_episode_steps=50),
    total_timesteps=256,
    seed=5,
    learner="fused",
    hyperparameters={"n_envs": 2, "n_steps": 64},
)


def boxes_of(monkeypatch: pytest.MonkeyPatch) -> list[BoxProcess]:
    """Those that it starts from now on."""
    found: list[BoxProcess] = []
    enter = BoxProcess.__enter__
    monkeypatch.setattr(BoxProcess, "__enter__", lambda box: found.append(box) or enter(box))
    return found


def test_a_supervisor_that_is_killed_takes_its_box_along_and_no_other(walled: bool) -> None:
    sleeps = "import time; print(1, flush=True); time.sleep(60)"
    with box(sleeps, walled) as other:
        other.stdout.readline()
        with box(sleeps, walled) as it:
            it.stdout.readline()
            below = ProcessTable().descendants(it._supervisor.pid)
            os.kill(it._supervisor.pid, signal.SIGKILL)
            if walled:
                with pytest.raises(SandboxError, match="killed from outside"):
                    it.wait(10)
            else:
                assert it.wait(10) == -signal.SIGKILL
        assert until(lambda: not any(alive(process.pid) for process in below), 5)
        assert other.wait(0) is None


def test_a_forkserver_that_is_stopped_keeps_no_box_from_being_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "_servers", {})
    monkeypatch.setattr(forked, "TELL_SECONDS", 0.1)
    with box("import time; print(1, flush=True); time.sleep(60)", walled=False) as it:
        it.stdout.readline()
        below = ProcessTable().descendants(it._supervisor.pid)
        os.kill(parent_of(it), signal.SIGSTOP)
        it.end()
        assert not any(alive(process.pid) for process in below)
        assert it.returncode is not None
    forked.close_all()


def test_without_a_forkserver_a_box_imports_for_itself(
    walled: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(forked, "_servers", {})
    monkeypatch.setattr(forked, "_refused", set())
    monkeypatch.setattr(forked, "SERVE", (sys.executable, "-c", "import sys; sys.exit('no memory')"))
    sandbox = EmbeddedSandbox() if walled else UnwalledSandbox()
    boxes = boxes_of(monkeypatch)
    with caplog.at_level("INFO"):
        outcome = sandbox.run(Job(SPEC, {}, Limits(wall_seconds=120)), lambda _: None, Event())
    assert isinstance(outcome, Finished)
    assert [box.forked for box in boxes] == [False]
    assert "boxes import for themselves (train): no forkserver" in caplog.text


def test_a_forkserver_that_dies_before_it_forks_leaves_the_box_to_be_started_afresh(walled: bool) -> None:
    with job_folder(TRAIN) as folder:
        place = embedded._walled(folder) if walled else Place(str(folder), str(folder), box_environment("/", "", {}))
        parent = forked.Forkserver(NOTHING, box_environment("/", "", {}), sealed=walled)
        parent.wait(Event())
        os.kill(parent.pid, signal.SIGKILL)
        command = [*RUN, "print(1, flush=True)"]
        with BoxProcess(command, place.scratch, place.environment, LIMITS, place.wall, parent) as it:
            assert it.stdout.readline() == b"1\n"
            assert not it.forked


def test_a_stop_is_heard_while_a_forkserver_imports(walled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "_servers", {})
    monkeypatch.setattr(forked, "SERVE", (sys.executable, "-c", "import time; time.sleep(60)"))
    sandbox, stop = EmbeddedSandbox() if walled else UnwalledSandbox(), Event()
    timer = Timer(0.3, stop.set)
    timer.start()
    with pytest.raises(JobStopped):
        sandbox.run(Job(SPEC, {}, Limits(wall_seconds=120)), lambda _: None, stop)
    forked.close_all()


def test_a_box_that_is_stopped_leaves_no_descriptor_open(walled: bool) -> None:
    sandbox = EmbeddedSandbox() if walled else UnwalledSandbox()
    long = SPEC.model_copy(update={"total_timesteps": 10**7, "progress_seconds": 0.1, "learner": "sb3"})

    def run_and_stop() -> int:
        stop = Event()
        with pytest.raises(JobStopped):
            sandbox.run(Job(long, {}, Limits(wall_seconds=120)), lambda _: stop.set(), stop)
        return len(os.listdir("/proc/self/fd"))

    assert run_and_stop() == run_and_stop()


FORKING_HOST = """
import os, threading
from eureka_sandbox.backends import forked
server = forked.forkserver(forked.NOTHING, {"PYTHONHASHSEED": "0"}, sealed=False, stop=threading.Event())
line = f"/proc/self/fd/{server._line.fileno()}"
held = os.readlink(line)
child = os.fork()
if child == 0:
    os._exit(int(bool(forked._servers) or (os.path.lexists(line) and os.readlink(line) == held)))
print(held.partition(":")[0], os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), server.gone)
"""


def test_a_process_that_is_forked_from_the_host_keeps_no_forkserver_alive() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING_HOST], capture_output=True, text=True, timeout=60)
    assert done.stdout == "socket 0 False\n", done.stderr


def test_imports_that_fail_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(forked.NoFork, match="no such kind"):
        forked.Forkserver("no such kind", box_environment("/nonexistent", "", {}), sealed=False).wait(Event())


HOST = """
import sys, threading
from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.protocol import EnvironmentSpec, Job, Limits, TrainSpec
spec = TrainSpec(environment=EnvironmentSpec(body="inverted_pendulum", max_episode_steps=50), total_timesteps=10**7,
                 seed=0, progress_seconds=0.1, learner="sb3")
job = Job(spec, {}, Limits(wall_seconds=300))
make_sandbox(sys.argv[1]).run(job, lambda _: print("on", flush=True), threading.Event())
"""


def test_a_host_that_is_killed_leaves_neither_forkserver_nor_box(walled: bool) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, "embedded" if walled else "none"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert host.stdout is not None
        assert host.stdout.readline() == "on\n"
        below = ProcessTable().descendants(host.pid)
        assert len(below) >= 3
    finally:
        host.kill()
        host.wait()
    host.stdout.close()
    assert until(lambda: not any(alive(process.pid) for process in below), 5)


def test_a_training_is_the_same_whether_its_box_was_forked_or_started_afresh(
    walled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = EmbeddedSandbox() if walled else UnwalledSandbox()
    boxes = boxes_of(monkeypatch)

    def policy() -> dict[str, bytes]:
        outcome = sandbox.run(Job(SPEC, {}, Limits(wall_seconds=120)), lambda _: None, Event())
        assert isinstance(outcome, Finished), outcome
        return outcome.blobs

    was_forked = policy()
    monkeypatch.setattr(forked, "_servers", {})
    monkeypatch.setattr(forked, "_refused", set())
    monkeypatch.setattr(forked, "SERVE", ("/nonexistent",))
    assert policy() == was_forked
    assert [box.forked for box in boxes] == [True, False]


COUNTING = """
import jax
counts = {"cache_hits": 0, "cache_misses": 0}
steps = 0

def count(name, **_):
    name = name.rsplit("/", 1)[-1]
    if name in counts:
        counts[name] += 1

jax.monitoring.register_event_listener(count)

def fitness(trajectory):
    return 0.0

def success(trajectory):
    return False

def terminated(state):
    global steps
    steps += 1
    if steps > 10:  # the first update came after eight
        raise RuntimeError(f"{counts['cache_hits']} read, {counts['cache_misses']} compiled")
    return state["pole_angle"] > 1000
"""


def test_a_forked_box_reads_the_program_that_a_warm_up_in_a_fresh_process_has_compiled(
    walled: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """JAX names a program by much of what surrounds it; on another name every box would compile, and nothing fail."""
    monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / "xla"))
    sandbox, boxes = EmbeddedSandbox() if walled else UnwalledSandbox(), boxes_of(monkeypatch)
    recipe = {"n_envs": 2, "n_steps": 8, "batch_size": 8, "n_epochs": 1}
    spec = SPEC.model_copy(update={"learner": "fused", "hyperparameters": recipe, "total_timesteps": 64})
    job = Job(spec, {}, Limits(wall_seconds=120))
    assert isinstance(sandbox.run(replace(job, warm_up=True), lambda _: None, Event()), Finished)
    outcome = sandbox.run(replace(job, files={"task.py": COUNTING.encode()}), lambda _: None, Event())
    assert [box.forked for box in boxes] == [False, True]
    assert isinstance(outcome, Failed)
    assert "1 read, 0 compiled" in outcome.failure.message


def test_what_all_boxes_wait_for_counts_as_no_box_s_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the first trainings of a search would look as if they had trained for longer than they say."""
    waited_until = 0.0

    def slow(*given: Any) -> forked.Forkserver | None:
        nonlocal waited_until
        time.sleep(0.3)
        waited_until = time.monotonic()
        return None

    monkeypatch.setattr(local, "forkserver", slow)
    outcome = UnwalledSandbox().run(replace(TRAIN, files={}), lambda _: None, Event())
    assert 0 < outcome.seconds < time.monotonic() - waited_until
