"""A person's own file of models: addresses, prices and limits that no table knows.

    models:
      openai/my-model:
        base_url: http://localhost:8000/v1
        price: {input: 0, output: 0}      # US dollars per million tokens; cache_read and cache_write if they differ
        max_output_tokens: 8000
        effort: low
        store: true                       # OpenAI keeps its answers: one lost on its way is looked up, not paid again

It is read anew in every sitting, so that a price can be corrected while a run is under way.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from eureka_agent.contract.yaml_lines import line_of
from eureka_agent.errors import UsageError
from eureka_agent.llm.wire import Price
from eureka_agent.text import objection


class Entry(BaseModel):
    """What a person says about one model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base_url: str | None = None
    """Address of a server that speaks the provider's protocol."""
    price: Price | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Longest answer the model can give."""
    effort: str | None = None
    store: bool | None = None
    """Ask the provider to keep its answers, and look up there what was lost."""

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, address: str | None) -> str | None:
        if address is not None and not address.startswith(("http://", "https://")):
            raise ValueError("an address begins with http:// or https://")
        return address


class ModelsFile(BaseModel):
    """The schema of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, Entry]


def usual_path() -> Path:
    """Where the file is looked for if no other is named: `$XDG_CONFIG_HOME/eureka-agent/models.yaml`."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "eureka-agent" / "models.yaml"


def load_models(path: Path | None) -> Mapping[str, Entry]:
    """The entries by model name; of the usual file without a `path`, none if that is not there.

    Raises:
        UsageError: naming file, field and line.
    """
    if path is None:
        path = usual_path()
        if not path.is_file():
            return {}
    try:
        text = path.read_text(encoding="utf-8")
        node, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"models file {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: not readable as YAML: {getattr(error, 'problem', None) or error}") from error
    try:
        models = ModelsFile.model_validate(data).models
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "models"
        raise UsageError(
            f"{path}:{line_of(node, first['loc'])}: {where}: {_complaint(first['type'], first)}"
        ) from error
    for name, entry in models.items():
        if entry.store and not name.startswith("openai/"):
            where = f"{path}:{line_of(node, ('models', name, 'store'))}: models.{name}.store"
            raise UsageError(f"{where}: only openai/ models can be asked to keep their answers")
    return models


def _complaint(kind: str, error: object) -> str:
    assert isinstance(error, dict)
    if kind == "extra_forbidden":
        depth = len(error["loc"])
        fields = ModelsFile if depth == 1 else Entry if depth == 3 else Price
        known = list(fields.model_fields)
        close = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        return f"unknown field; {f'did you mean {close[0]!r}? ' if close else ''}known: {', '.join(known)}"
    if kind in ("model_type", "dict_type"):
        return "expected a mapping, for instance `models: {openai/NAME: {price: {input: 2, output: 8}}}`"
    return f"{objection(error)} (given: {str(error['input'])[:60]!r})"
