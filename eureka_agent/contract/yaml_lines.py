"""Where in a YAML file something stands, for messages."""

from __future__ import annotations

import yaml


def line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """Line (from 1) of the deepest part of `location` that the YAML text holds."""
    line = 1
    for part in location:
        child = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, child = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
            line = child.start_mark.line + 1
        if child is None:
            break
        node = child
    return line
