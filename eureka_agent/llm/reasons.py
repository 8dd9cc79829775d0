"""What may be told to a language model of why its reward failed: typed facts, never words that a reward chose.

The host's own checks speak in words of this package. A box's message is untrusted, as the reward in it could have
written it: of such a message only the exception's class, the line, and the forms listed here are passed on, in which
nothing but numbers and names can vary; and no name but those of types, and those that stand in the code, which the
model wrote and sees anyway.
"""

from __future__ import annotations

import builtins
import re

from eureka_sandbox.protocol import Failure

EXCEPTIONS = frozenset(
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and name.endswith("Error")
)
_NAME = "<name>"
"""In a form, stands for any name that may be told."""
_WORD = re.compile(r"\b[A-Za-z_][A-Za-z0-9_]{0,39}\b")
_TYPES = frozenset(name for name, kind in vars(builtins).items() if isinstance(kind, type)) | {
    *("NoneType", "Tensor", "ndarray", "function", "generator", "bool", "int8", "int16", "int32", "int64", "uint8"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
}
_SHAPE = r"\([\d, ]{0,40}\)"
_WHAT = rf"(?:the total|component '{_NAME}')"
_NAMES = rf"(?:none|{_NAME}(?:, {_NAME}){{0,15}})"
_WHEN = r"(?: at vector step \d{1,9}| on the first call)?"
_CONTRACT = (
    rf"{_WHAT} is (?:NaN|infinite) in \d{{1,6}} of \d{{1,6}} environments{_WHEN}; "
    r"clamp what it divides by or takes exp, log or sqrt of",
    rf"{_WHAT} has shape {_SHAPE}, not \(N,\) = \(\d{{1,6}},\)"
    r"(?:; it was reduced over the environments: sum or mean over dim=-1, not over everything"
    r"|; use \.squeeze\(-1\)|; reduce the other axes with sum\(dim=-1\))?",
    rf"{_WHAT} is (?:{_NAME}|a tuple of \d{{1,6}} \({_NAMES}\)), not a tensor"
    r"(?:; use torch\.full_like\(total, -?[\d.e+-]{1,30}\))?",
    rf"{_WHAT} is {_NAME}; make it float with \.float\(\)",
    rf"returned (?:{_NAME}|a tuple of \d{{1,6}} \({_NAMES}\)); "
    r"return \(total, components\), a tensor and a dict of tensors",
    r"\d{1,6} components; at most \d{1,6}",
    r"it orders \d{1,6} recorded trajectories against the score \(Kendall's tau -?\d\.\d\d\); "
    r"pay more where the score is higher",
    rf"components are {_NAMES}{_WHEN}, they were {_NAMES}; return the same names on every call",
)
_TORCH = (
    r"The size of tensor a \(\d{1,9}\) must match the size of tensor b \(\d{1,9}\) at non-singleton dimension \d{1,3}",
    r"mat1 and mat2 shapes cannot be multiplied \(\d{1,9}x\d{1,9} and \d{1,9}x\d{1,9}\)",
    r"index -?\d{1,9} is out of bounds for dimension \d{1,3} with size \d{1,9}",
    r"Dimension out of range \(expected to be in range of \[-?\d{1,3}, -?\d{1,3}\], but got -?\d{1,9}\)",
    r"too many indices for tensor of dimension \d{1,3}",
    rf"name '{_NAME}' is not defined(?:; add `import (?:torch|math|numpy as np|numpy)`)?",
    rf"module 'torch' has no attribute '{_NAME}'",
    rf"'Tensor' object has no attribute '{_NAME}'",
    r"float division by zero|division by zero",
    r"Boolean value of Tensor with more than one value is ambiguous",
    r"Boolean value of Tensor with no values is ambiguous",
    r"a Tensor with \d{1,9} elements cannot be converted to Scalar",
)
_FORMS = "|".join(f"(?:{form})" for form in (*_CONTRACT, *_TORCH))


def told(failure: Failure, code: str | None) -> str:
    """The failure in words that a prompt may hold.

    `code` is the reward's, if a box reported the failure; None if the host's own check did.
    """
    if code is None:
        return failure.message
    name, colon, rest = failure.message.partition(": ")
    raised = name if colon and name in EXCEPTIONS else ""
    words = rest if raised else failure.message
    known = _known(code, words).fullmatch(words)
    parts = [raised, known.group() if known else ""]
    reason = ": ".join(part for part in parts if part)
    return f"{failure.verdict}: {reason}" if reason else str(failure.verdict)


def _known(code: str, words: str) -> re.Pattern[str]:
    """The forms with the names that may be told, as far as they are in the words: code has room for thousands."""
    names = sorted({*_TYPES, *_WORD.findall(code)}.intersection(_WORD.findall(words)), key=len, reverse=True)
    return re.compile(_FORMS.replace(_NAME, f"(?:{'|'.join(names) or '(?!)'})"))
