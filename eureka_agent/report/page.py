"""What every page has: templates that escape, and a policy that fetches nothing and runs the page's own script only."""

from __future__ import annotations

import base64
import hashlib

from jinja2 import Environment, PackageLoader, StrictUndefined

from eureka_agent import text
from eureka_agent.report import markup


def environment() -> Environment:
    """Templates with every value escaped, and how numbers read."""
    made = Environment(
        loader=PackageLoader("eureka_agent.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": text.number, "duration": text.duration, "count": text.count}
    made.filters |= {"percent": text.percent, "python": markup.python, "data_uri": markup.data_uri}
    return made


def policy(style: str, script: str, served: bool = False) -> str:
    """Nothing is fetched, nothing runs but the page's own script, which cannot turn text into markup either."""
    speaks = "connect-src 'self'; " if served else ""
    hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; {speaks}"
        "media-src data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
