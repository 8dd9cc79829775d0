"""Findings stay text until somebody looks: ten thousand candidates have a hundred thousand, and a search reads few."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import overload

from pydantic import TypeAdapter

from eureka_agent.population import Candidate
from eureka_evaluation.finding import Finding

FINDINGS = TypeAdapter(tuple[Finding, ...])
LISTS = (("findings", "commentary"), ("suspicions", "behaviour"))
"""Fields of a candidate's record that hold findings, each with the field behind it."""


class Unread(Sequence[Finding]):
    """Findings as a record has them. Whatever is asked of them reads and checks them all, once.

    Raises (whoever looks first):
        pydantic.ValidationError: they are no findings.
    """

    def __init__(self, text: str) -> None:
        """`text` is a JSON list."""
        self._text = text

    @cached_property
    def _read(self) -> tuple[Finding, ...]:
        return FINDINGS.validate_json(self._text)

    @overload
    def __getitem__(self, place: int) -> Finding: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, place: int | slice) -> Finding | tuple[Finding, ...]:
        return self._read[place]

    def __len__(self) -> int:
        return len(self._read)

    def __eq__(self, other: object) -> bool:
        return self._read == (other._read if isinstance(other, Unread) else other)

    __hash__ = None  # type: ignore[assignment]  # as findings themselves, whose figures are dicts

    def __repr__(self) -> str:
        return repr(self._read)


def read_record(record: str) -> Candidate:
    """A candidate from its record, its findings unread; what is laid out as by another version is read whole."""
    unread: dict[str, Unread] = {}
    for name, after in LISTS:
        # Neither mark can occur elsewhere: quotes in a string are escaped, and no list lies within findings or behind.
        begin = record.rfind(f'"{name}":[') + len(name) + 3
        end = record.find(f'],"{after}":', begin)
        if record[begin : begin + 1] == "[" and end > begin + 1:
            unread[name] = Unread(record[begin : end + 1])
            record = record[: begin + 1] + record[end:]
    candidate = Candidate.model_validate_json(record)
    return candidate.model_copy(update=unread) if unread else candidate
