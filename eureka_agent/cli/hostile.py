"""`eureka doctor --sandbox`: the whole corpus of hostile rewards against this machine's wall."""

from __future__ import annotations

from collections import Counter

from eureka_agent.cli.common import print_json, progress_console, result_console
from eureka_agent.cli.sandboxes import chosen_sandbox
from eureka_agent.errors import EnvironmentMissing, UsageError
from eureka_agent.lab.boxes import affordable_jobs
from eureka_agent.lab.proof import prove
from eureka_agent.lab.wall import described
from eureka_sandbox.hostile import Finding, Report, load_corpus, run_suite

EVERY = 10
"""Cases after which a log, which has no line to overwrite, gets one more."""


def attack_sandbox(as_json: bool) -> None:
    """Run every case, print contained / tried per category and each leak.

    Raises:
        EnvironmentMissing: something leaked, or a benign reward failed, or there is no wall to test.
        UsageError: the sandbox is `none`, in which the corpus would do harm.
    """
    sandbox, progress = chosen_sandbox(), progress_console()
    if sandbox.name == "none":
        raise UsageError("sandbox none is no wall to test: the corpus would harm this machine; set EUREKA_SANDBOX")
    wall = prove(sandbox)
    progress.print(f"sandbox: {described(wall)}", soft_wrap=True)
    total = sum(len((*category.cases, category.control)) for category in load_corpus().values())
    cases = f"about {total} cases, harmless controls among them"
    progress.print(f"{cases}, each in a box of its own: 5 to 12 minutes on two cores", soft_wrap=True)
    held: list[bool] = []
    with progress.status("") as status:

        def told(finding: Finding) -> None:
            held.append(finding.contained)
            status.update(so_far := f"{sum(held)} of {len(held)} held, about {total} to try: {finding.case.key}")
            if len(held) % EVERY == 0 and not progress.is_terminal:
                progress.print(so_far)

        try:
            report = run_suite(sandbox, on_result=told, jobs=affordable_jobs(None))
        except KeyboardInterrupt:
            progress.print(f"until then {sum(held)} of {len(held)} held, and about {total} were to be tried")
            raise
    if as_json:
        leaks = [str(leak) for leak in report.leaks]
        print_json({"ok": report.holds, "contained": report.contained, "tried": report.tried, "leaks": leaks})
    else:
        _print(report)
    if not report.holds:
        raise EnvironmentMissing(f"{sandbox.name}: {len(report.leaks)} hostile cases got through or proved nothing")


def _print(report: Report) -> None:
    console = result_console()
    tried = Counter(finding.case.category for finding in report.findings)
    held = Counter(finding.case.category for finding in report.findings if finding.contained)
    worked = {finding.case.category: finding.contained for finding in report.controls}
    for letter, category in load_corpus().items():
        fine = held[letter] == tried[letter] and worked.get(letter, False)
        console.print("ok" if fine else "no", style="green" if fine else "red", end="  ")
        benign = "" if worked.get(letter, False) else ", and its benign reward failed"
        console.print(f"{letter} {category.title}: {held[letter]} / {tried[letter]}{benign}", soft_wrap=True)
    for leak in report.leaks:
        console.print(f"    {leak}", style="red", soft_wrap=True)
    console.print(f"\n{report}", style="bold", soft_wrap=True)
