"""`eureka doctor`: does this machine have what a search needs, and what to do where it does not."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Instead: run the whole corpus of hostile rewards against the wall.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check this machine: cores, memory, packages, graphics, sandbox, folders; with fixes."""
    if sandbox:
        from eureka_agent.cli.hostile import attack_sandbox

        attack_sandbox(as_json)
        return
    from dataclasses import asdict

    from eureka_agent.cli.common import print_json, progress_console, result_console
    from eureka_agent.cli.diagnosis import Finding, diagnose
    from eureka_agent.errors import EnvironmentMissing

    console, findings = result_console(), list[Finding]()
    marks = {"ok": ("ok", "green"), "warning": ("--", "yellow"), "missing": ("no", "red")}
    with progress_console().status("looking at this machine…"):
        for finding in diagnose():
            findings.append(finding)
            if not as_json:
                mark, style = marks[finding.status]
                console.print(mark, style=style, end="  ")
                fix = f"\n      fix: {finding.fix}" if finding.fix else ""
                console.print(f"{finding.name}: {finding.value}{fix}", soft_wrap=True)
    missing = [finding.name for finding in findings if finding.status == "missing"]
    if as_json:
        print_json({"ok": not missing, "findings": [asdict(finding) for finding in findings]})
    if missing:
        raise EnvironmentMissing(f"this machine lacks: {', '.join(missing)}; the fixes stand above")
