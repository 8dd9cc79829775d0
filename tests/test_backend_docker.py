"""The Docker backend with real containers, around scripts that behave as a box may, and around the real worker."""

# ruff: noqa: E501 (the tables below read best with one case a line)

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest
from backend_cases import SCORE, TRAIN, as_json, frame, policy_blobs, progress
from docker_cases import Cable, container, failure_of, mine, run

from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.backends.docker import DockerSandbox
from eureka_sandbox.backends.docker_engine import OWNER_LABEL, Engine
from eureka_sandbox.protocol import Finished, Job, JobStopped, Limits, SandboxError, Verdict

TALKS = f"say(HELLO + {frame(b'P', as_json(progress()))!r}); time.sleep(60)"
"""A box that says how far it is, and goes on."""
pytestmark = pytest.mark.usefixtures("docker_engine")


@pytest.fixture(autouse=True)
def no_container_is_left(docker_engine: Engine) -> Iterator[None]:
    yield
    assert mine(docker_engine) == []


def seen_in_a_box(engine: Engine, expression: str, files: dict[str, bytes] | None = None) -> Any:
    """What a Python expression is in a box (`folder` is the job's)."""
    text = f"import json, os, resource, sys; folder = sys.argv[1]; print(json.dumps({expression}))"
    job = Job(TRAIN.spec, files or TRAIN.files)
    with DockerSandbox(engine=engine).box(job, ("python3", "-I", "-S", "-c", text), Event()) as box:
        answer = box.stdout.read()
        assert box.wait(5.0) == 0, box.stderr.read()
    return json.loads(answer)


def test_the_backend_is_found_by_name() -> None:
    assert make_sandbox("docker").name == "docker"


def test_a_complete_answer_is_the_result_whatever_the_exit_code(docker_engine: Engine) -> None:
    outcome = run("say(ANSWER); sys.exit(3)")
    assert isinstance(outcome, Finished), outcome
    assert outcome.blobs == policy_blobs()
    assert outcome.seconds > 0


def test_the_box_finds_the_job_and_nothing_else_of_the_host(
    docker_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "canary-4711")
    large = os.urandom(3 * 2**20)
    seen = seen_in_a_box(
        docker_engine,
        """{
            "job": {n: os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder) if n != "scratch"},
            "reward": open(folder + "/reward.py").read(),
            "environment": sorted(os.environ),
            "here": os.getcwd(),
            "stdin": os.read(0, 10).hex(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "interfaces": os.listdir("/sys/class/net"),
            "processes": sum(entry.isdigit() for entry in os.listdir("/proc")),
            "roots": sorted(os.listdir("/worker")),
        }""",
        {**TRAIN.files, "bank.safetensors": large},
    )
    assert seen["job"] == {
        "job.json": len(TRAIN.spec.model_dump_json()),
        "reward.py": len(TRAIN.files["reward.py"]),
        "bank.safetensors": len(large),
    }
    assert seen["reward"].encode() == TRAIN.files["reward.py"]
    assert not {"OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} & set(seen["environment"])
    assert (seen["here"], seen["stdin"], seen["interfaces"]) == ("/job/scratch", "", ["lo"])
    assert seen["descriptors"] == 4  # the three streams, and the folder that is being listed
    assert seen["processes"] == 2  # the guard, the box
    assert seen["roots"] == ["eureka_evaluation", "eureka_sandbox"]


def test_every_resource_of_a_box_has_a_limit(docker_engine: Engine) -> None:
    seen = seen_in_a_box(
        docker_engine,
        """{
            "mounts": {line.split()[1]: line.split()[3] for line in open("/proc/mounts")},
            "limits": {n: resource.getrlimit(getattr(resource, "RLIMIT_" + n)) for n in ("NOFILE", "FSIZE", "MSGQUEUE", "SIGPENDING")},
            "core": [line.split()[4:6] for line in open("/proc/self/limits") if line.startswith("Max core")],
            "writable": [line.split()[1] for line in open("/proc/mounts") if os.path.isdir(line.split()[1]) and os.access(line.split()[1], os.W_OK)],
            "user": [os.getuid(), os.getgid(), os.getgroups()],
            "inodes": [os.statvfs(folder).f_files for folder in ("/job/scratch", "/tmp", "/dev/shm")],
            "mib": {folder: os.statvfs(folder).f_blocks * os.statvfs(folder).f_frsize >> 20 for folder in ("/job/scratch", "/tmp", "/dev/shm")},
        }""",
    )
    assert seen["core"] == [["1", "1"]]
    assert seen["limits"] == {
        "NOFILE": [512] * 2,
        "FSIZE": [64 * 2**20] * 2,
        "MSGQUEUE": [0] * 2,
        "SIGPENDING": [256] * 2,
    }
    assert seen["user"][:2] == [10001, 10001]
    assert set(seen["user"][2]) <= {10001}
    assert seen["inodes"] == [4096] * 3
    assert seen["mib"] == {"/job/scratch": 64, "/tmp": 128, "/dev/shm": 64}
    for folder in ("/", "/job", "/worker/eureka_sandbox", "/worker/eureka_evaluation", "/proc/sys", "/sys", "/dev/pts"):
        assert seen["mounts"][folder].startswith("ro,"), folder
    for folder in ("/job/scratch", "/tmp", "/dev/shm"):
        assert {"noexec", "nosuid", "nodev"} <= set(seen["mounts"][folder].split(",")), folder
    assert sorted(seen["writable"]) == ["/dev/mqueue", "/dev/shm", "/job/scratch", "/tmp"]  # no queue: MSGQUEUE is 0


def test_the_engine_got_every_flag_of_the_specification(docker_engine: Engine) -> None:
    seen: list[dict[str, Any]] = []
    sandbox = container(TALKS)
    stop = Event()

    def look(_: Any) -> None:
        (known,) = mine(docker_engine)
        seen.append(docker_engine.client.inspect_container(known))
        stop.set()

    with pytest.raises(JobStopped):
        sandbox.run(Job(TRAIN.spec, TRAIN.files, Limits(memory_mb=700), origin="run-1/g0c2"), look, stop)
    (box,) = seen
    host = box["HostConfig"]
    assert (box["Config"]["Labels"]["eu.run"], box["Config"]["Labels"]["eu.cand"]) == ("run-1", "g0c2")
    assert box["Image"] == docker_engine.image()
    assert (host["NetworkMode"], host["IpcMode"], host["CgroupnsMode"]) == ("none", "private", "private")
    assert (host["ReadonlyRootfs"], host["Privileged"], host["Init"]) == (True, False, False)
    assert (host["CapDrop"], host["CapAdd"], host["Devices"]) == (["ALL"], None, None)
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"], host["NanoCpus"]) == (
        700 * 2**20,
        700 * 2**20,
        128,
        10**9,
    )
    assert (host["LogConfig"]["Type"], host["RestartPolicy"]["Name"], host["AutoRemove"]) == ("none", "no", False)
    assert host["OomScoreAdj"] == 500
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert any(option.startswith("seccomp={") for option in host["SecurityOpt"])
    assert all(mount["RW"] is False for mount in box["Mounts"])
    assert all(mount["BindOptions"]["Propagation"] == "rprivate" for mount in host["Mounts"])
    assert box["Config"]["Tty"] is False


BAD_ENDS = {
    "an early os._exit(0)": ("os._exit(0)", Verdict.BAD_RESULT, "the box ended (exit code 0) without a result"),
    "a crash": ("os.kill(os.getpid(), signal.SIGSEGV)", Verdict.BAD_RESULT, "the box ended (signal SIGSEGV) without a result"),
    "a kill of itself": ("os.kill(os.getpid(), 9)", Verdict.BAD_RESULT, "the box ended (signal SIGKILL) without a result"),
    "a kill of its guard": ("for number in range(1, 65): number in (32, 33) or os.kill(1, number)\nsys.exit(5)", Verdict.BAD_RESULT, "the box ended (exit code 5) without a result"),
    "a kill of everything": ("os.fork() and time.sleep(60); os.kill(-1, 9)", Verdict.BAD_RESULT, "the box ended (signal SIGKILL) without a result"),
    "half a frame": ("say(ANSWER[len(HELLO):-10])", Verdict.BAD_RESULT, "without a result, in the middle of a RESULT frame"),
    "printed text": ("print('score: 1.0')", Verdict.BAD_RESULT, "frames: 0x73 is no frame kind"),
    "too much memory": ("hoard = [b'x' * 2**22 for _ in iter(int, 1)]", Verdict.MEMORY, "at memory_mb=128"),
    "files in memory": ("[open(f'/tmp/{i}', 'wb').write(b'x' * 2**22) for i in range(30)]; time.sleep(60)", Verdict.MEMORY, "at memory_mb=128"),
    "a child with too much memory beside a result": ("pid = os.fork()\nwhile pid == 0: HELLO += b'x' * 2**22\nos.waitpid(pid, 0); say(ANSWER[ANSWER.index(b'}')+1:])", Verdict.MEMORY, "or a part of it, at memory_mb=128"),
    "a flood of messages": ("while True: os.write(2, b'x' * 2**16)", Verdict.OUTPUT, "stderr: more than 8388608 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ENDS)
def test_a_box_that_ends_badly_is_the_candidate_s_failure(name: str) -> None:
    text, verdict, words = BAD_ENDS[name]
    found, message = failure_of(run(f"say(HELLO)\n{text}", Limits(memory_mb=128, wall_seconds=60, stderr_kb=8)))
    assert (found, words in message) == (verdict, True), message


def test_what_is_printed_below_the_flood_is_drained() -> None:
    outcome = run("say(HELLO); os.write(2, b'x' * 2**22); say(ANSWER[len(HELLO):])", Limits(stderr_kb=8))
    assert isinstance(outcome, Finished), outcome


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sys.exit('no GL library')", r"exit code 1.*no GL library"),
        ("hoard = [b'x' * 2**22 for _ in iter(int, 1)]", r"memory_mb=128"),
    ],
)
def test_what_goes_wrong_before_hello_is_the_sandbox_s_failure_and_says_why(text: str, words: str) -> None:
    with pytest.raises(SandboxError, match=words):
        run(text, Limits(memory_mb=128))


def test_a_command_that_does_not_exist_is_the_sandbox_s_failure() -> None:
    with pytest.raises(SandboxError, match="no-such-worker: No such file"):
        DockerSandbox(("/no-such-worker",)).run(TRAIN, lambda _: None, Event())


def test_time_is_up_for_a_box_that_ignores_signals_and_has_children() -> None:
    text = """
        say(HELLO)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.fork(); os.setsid() if os.getpid() != os.getpgid(0) else None
        while True:
            pass
        """
    outcome = run(text, Limits(wall_seconds=4.0))
    assert failure_of(outcome) == (Verdict.TIME, "more than wall_seconds=4")


def test_a_box_that_stops_its_guard_is_ended_all_the_same() -> None:
    text = "say(HELLO); os.kill(os.getppid(), signal.SIGSTOP); time.sleep(60)"
    assert failure_of(run(text, Limits(wall_seconds=4.0)))[0] == Verdict.TIME


def test_the_stop_event_ends_a_running_box_and_one_that_is_only_starting() -> None:
    for delay in (0.05, 1.5):
        stop = Event()
        Timer(delay, stop.set).start()
        with pytest.raises(JobStopped):
            container("say(HELLO); time.sleep(60)").run(TRAIN, lambda _: None, stop)
    with pytest.raises(JobStopped):
        container("say(ANSWER)").run(TRAIN, lambda _: None, stop)


def test_a_malformed_job_is_refused_before_a_container_is_made() -> None:
    with pytest.raises(ValueError, match="cannot be a job's file"):
        DockerSandbox().run(Job(TRAIN.spec, {"../task.py": b""}), lambda _: None, Event())
    with pytest.raises(ValueError, match="must not hold reward code"):
        DockerSandbox().run(Job(SCORE.spec, {"reward.py": b""}), lambda _: None, Event())


def test_several_boxes_run_side_by_side_on_one_connection(docker_engine: Engine) -> None:
    sandbox = container("say(ANSWER)", docker_engine)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: sandbox.run(TRAIN, lambda _: None, Event()), range(4)))
    assert all(isinstance(outcome, Finished) for outcome in outcomes), outcomes


# ---------------------------------------------------------------------------------------- when others die


def test_a_container_that_somebody_stops_is_not_the_candidate_s_failure(docker_engine: Engine) -> None:
    def kill(_: Any) -> None:
        for container_id in mine(docker_engine):
            docker_engine.client.kill(container_id)

    with pytest.raises(SandboxError, match="somebody stopped a box's container"):
        container(TALKS).run(TRAIN, kill, Event())


def test_an_engine_that_goes_away_is_the_sandbox_s_failure_and_its_container_is_removed_later(
    docker_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cable = Cable(tmp_path / "engine.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{cable.path}")
    engine = Engine()
    with pytest.raises(SandboxError, match=r"no Docker Engine answers at unix://.*engine\.sock.*DOCKER_HOST"):
        container(TALKS, engine).run(TRAIN, lambda _: cable.cut(), Event())
    assert mine(docker_engine)
    with pytest.raises(SandboxError, match="no Docker Engine answers"):
        run("say(ANSWER)", engine=engine)
    cable = Cable(tmp_path / "engine.sock")
    assert isinstance(run("say(ANSWER)", engine=engine), Finished)
    cable.cut()


CONTROLLER = f"""
import sys, threading
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from docker_cases import TRAIN, container
container(sys.argv[1]).run(TRAIN, lambda _: print("running", flush=True), threading.Event())
"""
STOPS_ALL = f"""
import ctypes
child = os.fork()
if child == 0:
    time.sleep(600)
errors = []
for name in ("mem", "fd/0", "fd/1", "environ"):
    try:
        open("/proc/1/" + name, "r+b" if name == "mem" else "rb")
        os.kill(os.getpid(), 9)  # it can be seen: this test then finds no container that runs
    except PermissionError:
        pass
for number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGKILL, signal.SIGINT):
    os.kill(1, number)
os.kill(-1, signal.SIGSTOP)
{TALKS}
time.sleep(600)
"""
"""Stops every process but itself, and tries to reach its guard, before it says how far it is."""


@pytest.mark.parametrize("reward", [TALKS, STOPS_ALL], ids=["harmless", "stops all others"])
def test_the_container_of_a_killed_controller_ends_and_the_next_start_removes_it(
    reward: str, docker_engine: Engine
) -> None:
    def states() -> dict[str, str]:
        known = docker_engine.client.containers(all=True, filters={"label": OWNER_LABEL})
        return {c["Id"]: c["State"] for c in known if f" {controller.pid} " in c["Labels"][OWNER_LABEL]}

    controller = subprocess.Popen([sys.executable, "-c", CONTROLLER, reward], stdout=subprocess.PIPE)
    assert controller.stdout is not None
    assert controller.stdout.readline() == b"running\n"
    controller.kill()
    controller.wait()
    controller.stdout.close()
    (orphan,) = states()
    deadline = time.monotonic() + 20
    while states()[orphan] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert states()[orphan] == "exited"  # its guard saw the end of stdin
    assert isinstance(run("say(ANSWER)"), Finished)
    assert states() == {}


def test_what_ends_after_its_parent_does_not_stay_and_count(docker_engine: Engine) -> None:
    """Orphans come to the guard, which reaps them: else as many as there may be processes would be the end."""
    text = """
        say(HELLO)
        for _ in range(3):
            for _ in range(60):
                if os.fork() == 0:
                    os.fork()
                    os._exit(0)
                os.wait()
            while sum(entry.isdigit() for entry in os.listdir("/proc")) > 2:
                time.sleep(0.02)
        say(ANSWER[len(HELLO):])
        """
    assert isinstance(run(text), Finished)
