"""Build the wheel, check what it holds, and use it from a clean venv in a folder with its own `tasks/`.

The clean venv borrows the third-party packages of the venv that runs this script; the project itself is the wheel's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = (
    "eureka_agent/cli/__init__.py",
    "eureka_agent/_content/tasks/hopper_forward/task.yaml",
    "eureka_agent/_content/tasks/hopper_forward/exploits/",
    "eureka_agent/_content/prompts/",
    "eureka_sandbox/worker/__main__.py",
    "eureka_sandbox/backends/seccomp.json",
    "eureka_evaluation/statistics.py",
)
TOP_LEVEL = ("eureka_agent", "eureka_sandbox", "eureka_evaluation", "eureka_agent-")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return its stdout; stop with its output if it fails."""
    environment = os.environ | {"EUREKA_SANDBOX": "none"}  # no wall shows the packages that the clean venv borrows
    done = subprocess.run([str(c) for c in command], cwd=cwd, text=True, capture_output=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def check_contents(wheel: Path) -> None:
    """Every expected file is in, and nothing else claims a top-level name."""
    names = zipfile.ZipFile(wheel).namelist()
    for expected in EXPECTED:
        if not any(name.startswith(expected) for name in names):
            sys.exit(f"{wheel.name}: {expected} is missing")
    stray = [name for name in names if not name.replace("-", "_").startswith(TOP_LEVEL[:3])]
    if stray:
        sys.exit(f"{wheel.name}: unexpected top-level content: {', '.join(stray[:5])}")


def check_use(wheel: Path, scratch: Path) -> None:
    """The wheel works where a user's own folders have the names of ours."""
    run(sys.executable, "-m", "venv", "--without-pip", scratch / "venv", cwd=scratch)
    python = scratch / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=scratch).strip())
    zipfile.ZipFile(wheel).extractall(site)
    packages = scratch / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "eureka" not in entry.name:
            os.symlink(entry, packages / entry.name)
    (site / "third_party.pth").write_text(f"{packages}\n")
    user = scratch / "user"
    (user / "tasks" / "mine").mkdir(parents=True)
    (user / "evaluation.py").write_text("raise RuntimeError('the user\\'s own module was imported')\n")
    eureka = (python, "-m", "eureka_agent")
    listed = run(*eureka, "tasks", "list", cwd=user)
    if "hopper_forward" not in listed:
        sys.exit(f"tasks list from the wheel does not show hopper_forward:\n{listed}")
    where = run(python, "-c", "import eureka_agent, eureka_sandbox; print(eureka_agent.__file__)", cwd=user)
    if str(site) not in where:
        sys.exit(f"the wheel's package was not the one imported: {where}")
    run(*eureka, "new", "mine", "--env", "inverted_pendulum", cwd=user)
    run(*eureka, "tasks", "check", "./mine", cwd=user)


def main() -> None:
    """Build, inspect, use."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", scratch, ROOT, cwd=scratch)
        (wheel,) = scratch.glob("*.whl")
        check_contents(wheel)
        check_use(wheel, scratch)
        print(f"{wheel.name}: contents and use from a clean venv are right")


if __name__ == "__main__":
    main()
