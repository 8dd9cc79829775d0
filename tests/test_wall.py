"""The wall of the embedded backend, tried from inside with small scripts, and its self-test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from backend_cases import HELLO, TRAIN, policy_blobs, stream, train_result

import eureka_evaluation
import eureka_sandbox
from eureka_sandbox.backends import automatic, embedded, make_sandbox, probes, wall
from eureka_sandbox.backends.embedded import SELF_TEST, EmbeddedSandbox
from eureka_sandbox.backends.job_folder import JOB, SCRATCH, job_folder
from eureka_sandbox.backends.local import LocalRunner, Place, box_environment
from eureka_sandbox.backends.process import BoxProcess
from eureka_sandbox.backends.process_table import Process, ProcessTable
from eureka_sandbox.backends.unwalled import UnwalledSandbox
from eureka_sandbox.protocol import Failed, Finished, Job, Limits, SandboxError, Verdict

ANSWER = stream(policy_blobs(), train_result())
PRELUDE = f"""
import errno, json, os, signal, struct, sys, time
HELLO, ANSWER = {HELLO!r}, {ANSWER!r}
def say(data):
    while data:
        data = data[os.write(1, data):]
def tell(**facts):
    text = json.dumps({{"verdict": "bad result", "message": json.dumps(facts)}}).encode()
    say(HELLO + struct.pack(">cI", b"F", len(text)) + text)
    sys.exit()
def error(action, *arguments):
    try:
        action(*arguments)
    except OSError as problem:
        return errno.errorcode[problem.errno]
    return ""
"""


def told(script: str, limits: Limits | None = None) -> dict[str, object]:
    """What a script in a walled box tells."""
    command = (sys.executable, "-I", "-S", "-c", PRELUDE + textwrap.dedent(script))
    outcome = EmbeddedSandbox(command).run(
        Job(TRAIN.spec, TRAIN.files, limits or Limits(wall_seconds=60)), lambda _: None, Event()
    )
    assert isinstance(outcome, Failed), outcome
    facts = json.loads(outcome.failure.message)
    assert isinstance(facts, dict)
    return facts


walled = pytest.mark.usefixtures("embedded_wall")


@contextmanager
def unwalled_self_test(job: Job) -> Iterator[BoxProcess]:
    with job_folder(job) as folder:
        scratch = str(folder / JOB / SCRATCH)
        place = Place(str(folder / JOB), scratch, box_environment(scratch, "", os.environ))
        with LocalRunner(SELF_TEST).box(place, job.limits) as box:
            yield box


@walled
def test_the_self_test_contains_every_probe_and_every_control_succeeds() -> None:
    proven = EmbeddedSandbox().check()
    assert proven.contained == proven.probes >= 30
    assert proven.controls >= 7
    assert "every network and local socket" in proven.covers
    assert proven.gaps


def test_the_same_self_test_without_a_wall_names_what_leaks() -> None:
    with pytest.raises(SandboxError, match="the wall leaks: ") as raised:
        probes.prove(unwalled_self_test)
    for probe in ("files: read", "files: write beside", "files: shared memory", "network: TCP", "network: UDP",
                  "network: Unix socket", "network: abstract socket", "processes: signals", "secrets: environments",
                  "files: the user's folders",
                  "kernel: new user namespace"):  # fmt: skip
        assert probe in str(raised.value)


def test_a_self_test_that_could_not_read_its_job_proves_nothing() -> None:
    @contextmanager
    def silent(job: Job) -> Iterator[BoxProcess]:
        command = (sys.executable, "-I", "-S", "-c", 'print(\'{"answer": "", "found": {}, "worked": {}}\')')
        place = Place("", tempfile.gettempdir(), {})
        with LocalRunner(command).box(place, job.limits) as box:
            yield box

    with pytest.raises(probes.NoAnswer, match="could not read its job"):
        probes.prove(silent)


def test_a_machine_without_namespaces_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "missing", lambda: "user.max_user_namespaces is 0")
    with pytest.raises(SandboxError, match=r"max_user_namespaces is 0\. Use Docker .*--sandbox none"):
        EmbeddedSandbox().check()
    with pytest.raises(SandboxError, match="does not allow the embedded wall"):
        EmbeddedSandbox().run(TRAIN, lambda _: None, Event())


@walled
def test_a_box_sees_its_job_and_cannot_change_it_nor_the_system_nor_its_own_code() -> None:
    facts = told(f"""
        folder = sys.argv[1]
        seen = sorted(os.listdir(folder)), sorted(os.listdir("/")), os.getcwd() == os.path.join(folder, "scratch")
        def change(path):
            open(path, "w").close()
        tell(seen=seen, errors=[error(change, p) for p in (folder + "/reward.py", folder + "/new", "/usr/new", "/new",
             {str(Path(eureka_sandbox.__file__).parent)!r} + "/new", "/proc/self/comm")],
             home=error(os.listdir, {str(Path.home())!r}) or len(set(os.listdir({str(Path.home())!r})) - {{".pyenv"}}))
        """)
    inside, root, in_scratch = facts["seen"]  # type: ignore[misc]
    assert inside == ["job.json", "reward.py", "scratch"]
    ours = {Path(place).parts[1] for place in (eureka_sandbox.__file__, sys.prefix, sys.base_prefix)}
    assert not {"home", "root2", "sys", "var", "run", "srv", "mnt"} & set(root) - ours
    assert in_scratch
    assert set(facts["errors"]) == {"EROFS"}  # type: ignore[call-overload]


@walled
def test_what_a_box_writes_is_bounded_in_bytes_and_in_files_and_gone_with_it() -> None:
    facts = told("""
        def fill():
            with open("/tmp/large", "wb", buffering=0) as file:
                for _ in range(512):
                    if file.write(bytes(2**20)) < 2**20:
                        raise OSError(errno.ENOSPC, "short")
        def many():
            for number in range(20000):
                os.close(os.open(f"/dev/shm/{number}", os.O_CREAT | os.O_WRONLY))
        full = error(fill)
        os.unlink("/tmp/large")
        tell(full=full, many=error(many), scratch="5" in os.listdir(), memfd=error(os.memfd_create, "x"))
        """)
    assert facts == {"full": "ENOSPC", "many": "ENOSPC", "scratch": True, "memfd": "EPERM"}


@walled
def test_memory_that_no_process_would_answer_for_cannot_be_had() -> None:
    facts = told("""
        import mmap
        shared = error(mmap.mmap, -1, 2**20)
        private = error(lambda: mmap.mmap(-1, 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        tell(shared=shared, private=private, zero=os.path.exists("/dev/zero"))
        """)
    assert facts == {"shared": "EPERM", "private": "", "zero": False}


KERNEL_MEMORY = {
    "page tables": """
        empty = mmap.mmap(-1, 1 << 40, prot=mmap.PROT_READ, flags=0x4022)
        for place in range(0, 1 << 40, 1 << 21):
            empty[place]
        """,
    "sockets that nobody accepts": """
        server = socket.socket(socket.AF_UNIX)
        server.bind("here")
        server.listen(4096)
        for _ in range(4096):
            client = socket.socket(socket.AF_UNIX)
            client.connect("here")
            client.setblocking(False)
            error(client.sendall, bytes(2**20))
            client.close()
        """,
    "messages that nobody reads": """
        kept = []
        for number in range(200):
            kept.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            kept[-1].bind(str(number))
            for _ in range(10):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.sendto(bytes(100_000), str(number))
        """,
    "pipes": """
        for _ in range(120):
            if os.fork() == 0:
                break
        else:
            time.sleep(60)
        while not error(os.pipe):
            pass
        time.sleep(60)
        """,
    "mappings": """
        for _ in range(30):
            if os.fork() == 0:
                break
        room = mmap.mmap(-1, 1 << 29, prot=0, flags=0x22)  # each page could become a mapping of its own
        time.sleep(60)
        """,
}


@walled
@pytest.mark.parametrize("kind", KERNEL_MEMORY)
def test_memory_that_only_the_kernel_knows_of_counts_as_the_box_s(kind: str) -> None:
    script = "import mmap, socket\nsay(HELLO)\n" + textwrap.dedent(KERNEL_MEMORY[kind]) + "\ntime.sleep(60)"
    command = (sys.executable, "-I", "-S", "-c", PRELUDE + script)
    limits = Limits(wall_seconds=60, memory_mb=200)
    outcome = EmbeddedSandbox(command).run(Job(TRAIN.spec, TRAIN.files, limits), lambda _: None, Event())
    assert isinstance(outcome, Failed)
    assert outcome.failure.verdict == Verdict.MEMORY, outcome.failure


@walled
def test_what_the_user_has_few_of_is_left_to_the_user() -> None:
    """The kernel books watches, timers and locks of a box to whoever started it."""
    facts = told("""
        import ctypes, fcntl, resource, select
        kernel = ctypes.CDLL(None, use_errno=True)
        timers = 0
        while kernel.timer_create(0, None, ctypes.byref(ctypes.c_void_p())) == 0:
            timers += 1
        def limit(which):
            try:
                resource.setrlimit(which, (0, 0))
            except ValueError as problem:  # how Python words EPERM here
                raise PermissionError(errno.EPERM, "")
        watch = kernel.inotify_init1(0)
        mine, host = open("mine", "w+"), open("/usr/bin/env", "rb")
        tell(
            timers=0 < timers < 1000, watch=watch, poll=error(select.epoll),
            lock=error(fcntl.lockf, mine, fcntl.LOCK_EX), lease=error(fcntl.fcntl, host, 1024, fcntl.F_RDLCK),
            handler=[line.split()[4:6] for line in open("/proc/self/limits") if line.startswith("Max core")],
            no_handler=error(resource.setrlimit, resource.RLIMIT_NOFILE, (200, 200)),
            changed=error(limit, resource.RLIMIT_CORE), host_lock=error(fcntl.flock, host, fcntl.LOCK_SH),
            huge=kernel.mmap(None, ctypes.c_size_t(2**21), 3, 0x40022, -1, ctypes.c_size_t(0)),
        )
        """)
    assert facts == {
        "timers": True,
        "watch": -1,
        "poll": "EPERM",
        "lock": "EPERM",
        "lease": "EPERM",
        "handler": [["1", "1"]],
        "no_handler": "",
        "changed": "EPERM",
        "host_lock": "EPERM",
        "huge": -1,
    }


@walled
def test_a_fork_bomb_ends_at_a_number_and_leaves_nothing(started: Callable[[], list[Process]]) -> None:
    facts = told("""
        children = 0
        def bomb():
            global children
            while True:
                if os.fork() == 0:
                    time.sleep(60)
                    os._exit(0)
                children += 1
        tell(end=error(bomb), enough=100 < children < 10_000)
        """)
    assert facts == {"end": "EAGAIN", "enough": True}
    assert started() == []


@walled
def test_a_box_can_neither_see_nor_end_what_is_outside_its_supervisor_included() -> None:
    sentinel = subprocess.Popen(["sleep", "60"])
    try:
        facts = told(f"""
            mine = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
            for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(1, number)  # the first process heeds nobody inside
            time.sleep(0.1)
            child = os.fork()
            if child == 0:
                os.setsid()
                time.sleep(60)
            os.kill(child, signal.SIGKILL)
            tell(parent=os.getppid(), mine=len(mine), first=error(os.listdir, "/proc/1/fd"),
                 ended=os.waitpid(child, 0)[1],
                 sentinel=error(os.kill, {sentinel.pid}, 0), host=error(os.kill, {os.getpid()}, 0))
            """)
        assert facts == {"parent": 1, "mine": 2, "first": "EACCES", "ended": 9, "sentinel": "ESRCH", "host": "ESRCH"}
        assert sentinel.poll() is None
    finally:
        sentinel.kill()
        sentinel.wait()


@walled
def test_a_box_has_no_capability_no_terminal_and_only_local_sockets_between_its_own_processes() -> None:
    facts = told("""
        import socket
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        families = [error(socket.socket, family) for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)]
        listener, caller = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        listener.bind("box.sock")
        listener.listen()
        caller.connect("box.sock")
        tell(capabilities=sum(int(status[n], 16) for n in ("CapPrm", "CapEff", "CapBnd", "CapInh")),
             privileges=status["NoNewPrivs"], filters=status["Seccomp"], families=families,
             terminal=error(os.open, "/dev/tty", os.O_RDWR), user=os.getuid() == 1000, root=error(os.setuid, 0))
        """)
    assert facts == {
        "capabilities": 0,
        "privileges": "1",
        "filters": "2",
        "families": ["EPERM"] * 3,
        "terminal": "ENOENT",
        "user": True,
        "root": "EPERM",
    }


@walled
def test_worker_processes_of_every_kind_can_be_started_in_a_box() -> None:
    script = """
        import multiprocessing
        if __name__ == "__main__":
            counts = []
            for method in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                here, there = context.Pipe()
                with context.Lock():
                    worker = context.Process(target=time.sleep, args=(0,))
                    worker.start()
                worker.join()
                counts.append(worker.exitcode)
            tell(ended=counts)
        """
    assert told(script) == {"ended": [0, 0, 0]}


SUPERVISOR, FIRST, WORKER = 0, 1, 2


@contextmanager
def killing(which: int, started: Callable[[], list[Process]]) -> Iterator[None]:
    """SIGKILL for one of the three processes of the next box, once all are there."""

    def kill() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            below = started()
            if len(below) == 3:
                time.sleep(0.3)
                os.kill(below[which].pid, signal.SIGKILL)
                return
            time.sleep(0.02)

    killer = Thread(target=kill)
    killer.start()
    yield
    killer.join()


@walled
def test_a_box_whose_supervisor_is_killed_is_the_sandbox_s_loss_and_not_the_candidate_s(
    started: Callable[[], list[Process]],
) -> None:
    command = (sys.executable, "-I", "-S", "-c", PRELUDE + "say(HELLO); time.sleep(60)")
    with killing(SUPERVISOR, started), pytest.raises(SandboxError, match="killed from outside"):
        EmbeddedSandbox(command).run(Job(TRAIN.spec, TRAIN.files, Limits(wall_seconds=50)), lambda _: None, Event())


@walled
@pytest.mark.parametrize("which", [FIRST, WORKER], ids=["first process", "worker"])
def test_a_box_whose_processes_are_killed_is_tried_again_and_may_be_the_candidate_s_failure(
    which: int, started: Callable[[], list[Process]]
) -> None:
    command = (sys.executable, "-I", "-S", "-c", PRELUDE + "say(HELLO); time.sleep(60)")
    with killing(which, started):
        job = Job(TRAIN.spec, TRAIN.files, Limits(wall_seconds=50))
        outcome = EmbeddedSandbox(command).run(job, lambda _: None, Event())
    assert isinstance(outcome, Failed)
    assert outcome.killed
    assert outcome.failure.verdict == Verdict.BAD_RESULT


@walled
def test_a_first_process_that_is_killed_before_any_of_the_job_s_code_ran_is_the_sandbox_s_loss(
    started: Callable[[], list[Process]],
) -> None:
    command = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)")
    with killing(FIRST, started), pytest.raises(SandboxError, match="did not start"):
        EmbeddedSandbox(command).run(Job(TRAIN.spec, TRAIN.files, Limits(wall_seconds=50)), lambda _: None, Event())


@walled
def test_a_box_cannot_set_limits_priority_or_processors_of_its_first_process() -> None:
    facts = told("""
        import resource
        refused = [
            *(error(resource.prlimit, 1, number) for number in range(16)),
            error(resource.prlimit, 1, resource.RLIMIT_CPU, (1, 1)),
            error(os.setpriority, os.PRIO_PROCESS, 1, 19),
            error(os.setpriority, os.PRIO_PGRP, 0, 19),
            error(os.setpriority, os.PRIO_USER, 0, 19),
            error(os.sched_setaffinity, 1, os.sched_getaffinity(1)),
        ]
        own = [
            error(resource.setrlimit, resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU)),
            error(os.setpriority, os.PRIO_PROCESS, 0, 19),
            error(os.sched_setaffinity, 0, os.sched_getaffinity(0)),
        ]
        tell(refused=sorted(set(refused)), own=own)
        """)
    assert facts == {"refused": ["EPERM"], "own": ["", "", ""]}


ORDINARY = """
import threading
import eureka_sandbox.backends.embedded as e
from eureka_sandbox.backends import forked
from eureka_sandbox.protocol import EnvironmentSpec, Job, TrainSpec
sandbox = e.EmbeddedSandbox()
wall = sandbox.check()
spec = TrainSpec(environment=EnvironmentSpec(body="inverted_pendulum", max_episode_steps=9), total_timesteps=64, seed=0)
outcome = sandbox.run(Job(spec, {}), lambda _: None, threading.Event())
trainers = [key for key in forked._servers if "train" in key]
print(wall.contained, wall.probes, len(trainers), type(outcome).__name__)
"""


@walled
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs all the other tests as itself")
def test_the_wall_stands_for_a_user_without_any_right_too() -> None:
    paths = [str(Path(module.__file__ or "").parents[1]) for module in (eureka_sandbox, eureka_evaluation)]
    search = ":".join([*(p for p in sys.path if p.endswith("site-packages")), *paths])
    as_nobody = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "env",
        "-i",
        f"PYTHONPATH={search}",
    ]
    usual = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    imports = "import pydantic, eureka_sandbox.backends.embedded as e; "
    for python in (sys.executable, usual):
        if (
            shutil.which("setpriv")
            and subprocess.run([*as_nobody, python, "-c", imports], cwd="/", capture_output=True).returncode == 0
        ):
            break
    else:
        pytest.skip("no Python here can be read by another user")
    folder = Path(tempfile.mkdtemp(prefix="eureka-test-"))
    try:
        folder.chmod(0o755)
        subprocess.run([python, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        packages = next((folder / "venv" / "lib").glob("python*/site-packages"))
        (packages / "path.pth").write_text(search.replace(":", "\n"))  # boxes find the packages, as after `pip install`
        python = str(folder / "venv" / "bin" / "python")
        done = subprocess.run(
            [*as_nobody, python, "-c", ORDINARY], cwd="/", capture_output=True, text=True, timeout=120
        )
    finally:
        shutil.rmtree(folder)
    contained, of, forked, outcome = done.stdout.split() or ("0", done.stderr, "", "")
    assert contained == of
    assert (forked, outcome) == ("1", "Finished")


@walled
def test_a_program_started_by_a_path_through_other_folders_has_boxes_too(tmp_path: Path) -> None:
    roundabout = f"{tmp_path}/{os.path.relpath(sys.executable, tmp_path)}"
    done = subprocess.run([roundabout, "-c", ORDINARY], cwd="/", capture_output=True, text=True, timeout=120)
    contained, of, forked, outcome = done.stdout.split() or ("0", done.stderr, "", "")
    assert contained == of
    assert (forked, outcome) == ("1", "Finished")


HOST = """
import sys
from threading import Event
sys.path.insert(0, {tests!r})
from test_wall import PRELUDE
from backend_cases import TRAIN
from eureka_sandbox.backends.embedded import EmbeddedSandbox
script = "say(HELLO); os.fork() or os.setsid(); time.sleep(60)"
EmbeddedSandbox((sys.executable, "-I", "-S", "-c", PRELUDE + script)).run(TRAIN, print, Event())
"""


@walled
def test_a_walled_box_dies_with_a_killed_host_or_a_killed_supervisor(tmp_path: Path) -> None:
    for victim in ("host", "supervisor"):
        script = HOST.format(tests=str(Path(__file__).parent))
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        host = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(tree := ProcessTable().descendants(host.pid)) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)  # supervisor, first process, worker and its daemon
        os.kill(host.pid if victim == "host" else tree[0].pid, signal.SIGKILL)
        host.wait()
        while any(Path(f"/proc/{process.pid}").exists() for process in tree) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(tree) == 4
        assert not [process.pid for process in tree if Path(f"/proc/{process.pid}").exists()]


# ----------------------------------------------------------------------------------------------------------- grants


@walled
def test_what_is_installed_below_the_folder_for_temporary_files_can_be_read_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="eureka-library-", dir="/tmp"))
    ours = Path(eureka_sandbox.__file__)  # of a checkout below /tmp the way to it is seen as well
    shown = {folder.name} | ({ours.parts[2]} if ours.is_relative_to("/tmp") else set())
    try:
        folder.chmod(0o755)
        (folder / "library").write_text("code")
        (folder / "library").chmod(0o644)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
        wall.readable.cache_clear()
        facts = told(f"""
            path = {str(folder / "library")!r}
            tell(text=open(path).read(), change=error(open, path, "w"), beside=sorted(os.listdir("/tmp")))
            """)
        assert facts == {"text": "code", "change": "EROFS", "beside": sorted(shown)}
    finally:
        wall.readable.cache_clear()
        shutil.rmtree(folder)


@walled
def test_of_usr_a_box_sees_programs_and_libraries_and_nothing_that_people_put_there() -> None:
    facts = told("tell(usr=os.listdir('/usr'), local=os.listdir('/usr/local') if os.path.exists('/usr/local') else [])")
    ours = {part for place in (eureka_sandbox.__file__, sys.prefix, sys.base_prefix) for part in Path(place).parts}
    assert set(facts["usr"]) - ours <= {"bin", "sbin", "lib", "lib32", "lib64", "share", "local"}  # type: ignore[call-overload]
    local = {name for name in facts["local"] if not name.startswith("cuda")}  # type: ignore[attr-defined]
    assert local - ours <= {"bin", "lib", "lib64", "share"}
    granted = wall.readable(tuple(sys.path))
    for private in ("/usr/src/app/.env", "/usr/local/project/run.db", "/usr/local/cuda/run.db"):
        assert not any(Path(private).is_relative_to(path) for path in granted), private


@pytest.mark.parametrize(("python", "home"), [("/usr", "/usr/src/app"), ("/usr/local", "/usr/local/project")])
def test_a_home_beside_the_system_s_own_python_needs_no_other_python(
    python: str, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, name, python)
    monkeypatch.setenv("HOME", home)
    granted = wall.readable((str(tmp_path / "nothing"),))
    assert not any(Path(home).is_relative_to(path) for path in granted)


@walled
def test_folders_of_the_system_that_are_links_lead_where_they_do_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the same link is a part of Python's own home, as `/usr/lib64` is for the Python of some systems."""
    root = tmp_path / "machine"
    library = root / "usr" / "lib"
    library.mkdir(parents=True)
    (library / "library").write_text("code")
    (root / "usr" / "lib64").symlink_to("lib")
    (root / "lib64").symlink_to("usr/lib")
    places = [str(root / name) for name in ("lib64", "usr/lib", "usr/lib64")]
    monkeypatch.setattr(wall, "SYSTEM", (*wall.SYSTEM, *places))
    for home, libraries in ((sys.base_prefix, ""), (str(root / "usr"), ""), (sys.base_prefix, str(root))):
        monkeypatch.setattr(sys, "base_prefix", home)
        monkeypatch.setenv("LD_LIBRARY_PATH", libraries)
        wall.readable.cache_clear()
        try:
            assert told(f"tell(texts=[open(place + '/library').read() for place in {places!r}])") == {
                "texts": ["code"] * 3
            }
        finally:
            wall.readable.cache_clear()


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that boxes may read, since somebody named the one above for its libraries."""
    (tmp_path / "library" / "project").mkdir(parents=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "library"))
    wall.readable.cache_clear()
    yield tmp_path / "library" / "project"
    wall.readable.cache_clear()


@walled
def test_who_works_where_boxes_may_read_is_told_so_and_no_box_starts(
    shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = rf"a box may read all of {shown.parent}, and with it {shown}: work in another folder.*--sandbox docker"
    with pytest.raises(SandboxError, match=refusal):
        EmbeddedSandbox().check([shown])
    EmbeddedSandbox().check()
    monkeypatch.chdir(shown)
    with pytest.raises(SandboxError, match=refusal):
        EmbeddedSandbox().check()
    with pytest.raises(SandboxError, match=refusal):
        EmbeddedSandbox().run(TRAIN, lambda _: None, Event())


@walled
def test_the_self_test_finds_a_private_folder_that_a_box_can_see(shown: Path) -> None:
    with pytest.raises(SandboxError, match=rf"the wall leaks: files: the user's folders \({shown}\)"):
        probes.prove(embedded._self_test, [shown])
    assert list(shown.iterdir()) == []


def test_a_box_may_read_python_and_this_project_s_code_and_nobody_s_home() -> None:
    granted = wall.readable(tuple(sys.path))
    assert any(Path(eureka_sandbox.__file__).is_relative_to(path) for path in granted)
    assert any(Path(sys.executable).is_relative_to(path) for path in granted)
    for private in (Path.home(), Path(tempfile.gettempdir()), Path("/etc/shadow"), Path.cwd() / "runs"):
        assert not any(private.is_relative_to(path) for path in granted), private


def test_the_settings_of_package_managers_beside_python_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    for secret in ("pip.conf", ".condarc", "uv.toml"):
        (tmp_path / secret).write_text("index-url = https://user:password@example.org")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    granted = wall.readable((str(tmp_path / "one more"),))
    wall.readable.cache_clear()
    assert {tmp_path / "bin", tmp_path / "lib"} <= set(granted)
    assert not any((tmp_path / "pip.conf").is_relative_to(path) for path in granted)


def test_a_python_that_lives_in_the_home_folder_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(SandboxError, match="install into a virtual environment"):
        wall.readable((str(tmp_path / "another"),))


def test_auto_is_what_the_environment_says_and_never_none_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUREKA_SANDBOX", "none")
    assert isinstance(make_sandbox("auto"), UnwalledSandbox)
    monkeypatch.setenv("EUREKA_SANDBOX", "")
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    assert automatic() == "embedded"
    assert make_sandbox().name == "embedded"


def test_the_backends_state_what_they_do_not_cover() -> None:
    proven = UnwalledSandbox().check()
    assert (proven.backend, proven.probes) == ("none", 0)
    assert "the network" in proven.gaps
    assert embedded.GAPS


@walled
def test_a_complete_answer_leaves_the_wall_whole() -> None:
    command = (sys.executable, "-I", "-S", "-c", PRELUDE + "say(ANSWER)")
    outcome = EmbeddedSandbox(command).run(TRAIN, lambda _: None, Event())
    assert isinstance(outcome, Finished)
    assert outcome.blobs == policy_blobs()
