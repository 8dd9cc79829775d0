"""Untrusted text as markup, and the page's one stylesheet. Whatever comes in is escaped; nothing adds an element."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from importlib.resources import files

from markupsafe import Markup, escape
from pygments.lexers.python import PythonLexer
from pygments.styles import get_style_by_name
from pygments.token import Comment, Keyword, Literal, Name, Number, String, _TokenType

from eureka_agent.text import visible

LONGEST_CODE, LONGEST_LINE = 50_000, 1_000
"""Characters of code, and of a line, that are given colours: the time of Pygments' patterns grows with the square."""
_BLANK = re.compile(r"^[^\S\n]++$", re.MULTILINE)
STYLES = ("xcode", "monokai")
"""Of code, light and dark: the ones of Pygments' that keep a contrast of 4.5 to 1 for every kind of token."""
KINDS: dict[str, _TokenType] = {
    "c": Comment,
    "s": String,
    "n": Number,
    "i": Keyword.Namespace,
    "k": Keyword,
    "b": Name.Builtin,
    "f": Name.Function,
    "d": Name.Decorator,
    "l": Literal,
}
"""The kinds of token that have a colour of their own, the narrower first; all others are plain text."""


@lru_cache(maxsize=4096)
def code_lines(source: str) -> tuple[Markup, ...]:
    """Python source as highlighted lines, each whole for itself; invisible characters are written out."""
    source = _BLANK.sub("", visible(source))  # at each line with spaces alone Pygments looks through all that follow
    if len(source) > LONGEST_CODE or max(map(len, source.split("\n"))) > LONGEST_LINE:
        return plain_lines(source)
    lines: list[list[tuple[str, str]]] = [[]]
    for token, value in PythonLexer(stripnl=False, ensurenl=False).get_tokens(source):
        css = next((name for name, kind in KINDS.items() if token in kind), "")
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append([])
            if part and lines[-1] and lines[-1][-1][0] == css:
                lines[-1][-1] = (css, lines[-1][-1][1] + part)
            elif part:
                lines[-1].append((css, part))
    return tuple(Markup("").join(_span(css, part) for css, part in line) for line in lines)


def plain_lines(source: str) -> tuple[Markup, ...]:
    """The same without highlighting, for pages of many candidates."""
    return tuple(escape(line) for line in visible(source).split("\n"))


def _span(css: str, text: str) -> Markup:
    return Markup('<span class="{}">{}</span>').format(css, text) if css and not text.isspace() else escape(text)


def python(source: str, plain: bool = False) -> Markup:
    """A block of code that a keyboard can scroll. The stylesheet draws line numbers, so that nobody copies them."""
    lines = (plain_lines if plain else code_lines)(source.rstrip())
    if plain:
        return Markup('<pre class="code" tabindex="0"><code>{}</code></pre>').format(Markup("\n").join(lines))
    body = Markup("\n").join(Markup('<span class="ln">{}</span>').format(line) for line in lines)
    return Markup('<pre class="code numbered" tabindex="0"><code>{}</code></pre>').format(body)


def data_uri(content: bytes, kind: str) -> str:
    """Bytes inside the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def stylesheet() -> str:
    """The page's own style and the colours of code, each in both themes."""
    own = _template("report.css") + _template("review.css")
    light, dark = (get_style_by_name(name) for name in STYLES)
    rules = []
    for css, kind in KINDS.items():
        colours = [f"#{c}" if (c := style.style_for_token(kind)["color"]) else "var(--ink)" for style in (light, dark)]
        rules.append(f".code .{css} {{ color: light-dark({', '.join(colours)}); }}")
    return own + "\n".join(rules) + "\n"


def script() -> str:
    """What makes the page handier; it can be read without."""
    return _template("report.js") + _template("review.js")


def _template(name: str) -> str:
    return files("eureka_agent.report").joinpath(f"templates/{name}").read_text("utf-8")
