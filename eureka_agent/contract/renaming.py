"""Gives the local names of reward code names by their order, so that programs that differ in those only are equal."""

from __future__ import annotations

import ast
import builtins

from eureka_agent.contract.reward_names import bound_by

LOOKED_UP = frozenset({"locals", "vars", "dir", "eval", "exec", "compile", "globals", "inspect", "getattr"})
"""Code that uses these may look names up by their spelling."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def number_locals(tree: ast.Module, public: ast.AST | None) -> None:
    """Change the tree in place: in every function at the top level each local name becomes `$<n>`.

    A name gets one number all over such a function, and different names different ones, so what is bound where stays
    as it was: closures, comprehensions and shadowing included. Whatever can be meant from elsewhere keeps its name:
    what the module binds, built-ins, names in classes, imports, and parameters that may be passed by name.

    Args:
        tree: of the module.
        public: the function among its own whose parameters are known by their names.
    """
    if any(_by_spelling(node) for node in ast.walk(tree)):
        return
    kept, by_name = _known_elsewhere(tree), _spelled(tree)
    for function in tree.body:
        if isinstance(function, _Function):
            parameters = {name for name in _parameters(function) if by_name is None or name in by_name}
            parameters |= _parameters(function.args) if function is public else set()
            bound = dict.fromkeys(name for node in ast.walk(function) for name in _bound(node))
            free = (name for name in bound if name not in kept and name not in parameters)
            local = [name for name in free if not name.startswith("__")]
            _Renamed({name: f"${number}" for number, name in enumerate(local)}).visit(function)


def _by_spelling(node: ast.AST) -> bool:
    """Whether names may be looked up, or turned into text such as a component's name."""
    match node:
        case ast.Name(id=name):
            return name in LOOKED_UP
        case ast.Attribute(attr=name):
            return name.startswith("__")
        case ast.Constant(value=str(text)):
            return "__" in text
        case _:
            return False


def _known_elsewhere(tree: ast.Module) -> set[str]:
    """Names that mean something outside of a function, or that are bound in ways that are not followed."""
    kept, in_classes = set(dir(builtins)), set[ast.AST]()
    for node in ast.walk(tree):
        match node:
            # of those inside each other the outermost, which comes first
            case ast.ClassDef() if node not in in_classes:
                inside = list(ast.walk(node))
                in_classes.update(inside)
                kept.update(name for inner in inside for name in _bound(inner))
            case ast.Global(names=names):
                kept.update(names)
            case ast.Name() | ast.arg() | ast.FunctionDef() | ast.AsyncFunctionDef():
                pass
            case _:
                kept.update(_bound(node))  # imports, handlers, patterns
    for statement in tree.body:
        nodes = [statement] if isinstance(statement, _Function) else ast.walk(statement)
        kept.update(name for node in nodes for name in _bound(node))
    return kept


def _spelled(tree: ast.Module) -> set[str] | None:
    """What may name a parameter: keywords of calls; None, for any name, where a call has `**arguments`."""
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    return None if None in keywords else {name for name in keywords if name}


def _parameters(node: ast.AST) -> set[str]:
    return {inner.arg for inner in ast.walk(node) if isinstance(inner, ast.arg)}


def _bound(node: ast.AST) -> list[str]:
    """Names that this node binds; one that it only reads is not."""
    return [] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) else bound_by(node)


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        match node:
            case ast.Name(id=name):
                node.id = self.names.get(name, name)
            case ast.arg(arg=name):
                node.arg = self.names.get(name, name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                node.name = self.names.get(name, name)
            case ast.Nonlocal(names=names):
                node.names = [self.names.get(name, name) for name in names]
            case _:
                pass
        return node
