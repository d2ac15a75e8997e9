"""What of a serialised graph torch evaluates as Python, or looks up by name: checked against what graphs need."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

_WORD = "_?[A-Za-z0-9]+(_[A-Za-z0-9]+)*_?|__i?(and|or|xor|lshift|rshift)__"
# `aten.from_file` maps files, and makes them
_OPERATOR = re.compile(
    rf"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.(?!from_file)({_WORD})(\.({_WORD}))?"
    r"|torch\.ops\.higher_order\.(cond|while_loop|map_impl|scan|associative_scan|wrap_with_set_grad_enabled"
    r"|wrap_with_autocast)"
    r"|torch\._?sym_[a-z]+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|pow|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(ceil|floor|trunc|sqrt|log|log2|exp)"
)
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
_FUNCTIONS = re.compile(
    "Symbol|Integer|Float|Rational|Add|Mul|Pow|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|ModularIndexing|Max|Min|max|min"
    "|floor|ceiling|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Where|Piecewise|ToFloat|TruncToInt|TruncToFloat|FloorToInt|CeilToInt"
    "|RoundToInt|RoundDecimal|IntTrueDiv|FloatTrueDiv|PowByNatural|FloatPow|LShift|RShift|Identity"
    "|Equality|Unequality|LessThan|GreaterThan|StrictLessThan|StrictGreaterThan"
)
_NAMES = re.compile(r"L|[a-z]{1,4}\d+|oo|int_oo|true|false")
_METHODS = {"size", "stride", "storage_offset", "dim", "numel"}
_NODES = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Subscript, ast.keyword),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd, ast.Not, ast.Load),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Tuple),
)
MOST_CHARACTERS = 10_000
"""Of one expression."""


def check_graph(graph: Any) -> None:
    """Check the JSON of a program: its operators, the expressions of its sizes, and the containers of its arguments.

    Raises:
        ValueError: it names what could run code.
    """
    checks = {
        "target": _check_operator,
        "as_operator": _check_operator,
        "expr_str": _check_expression,
        "guards_code": _check_guards,
        "in_spec": _check_containers,
        "out_spec": _check_containers,
        "as_custom_obj": _check_absent,
    }
    for key, value in _pairs(graph):
        if key in checks:
            checks[key](value)


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every name of a JSON value with what stands there."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part.items()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _check_operator(name: Any) -> None:
    if not isinstance(name, str) or not _OPERATOR.fullmatch(name):
        raise ValueError(f"it calls {str(name)[:100]!r}, which is not among the operators of networks")


def _check_guards(guards: Any) -> None:
    for guard in guards if isinstance(guards, list) else [None]:
        _check_expression(guard)


def _check_absent(value: Any) -> None:
    if value is not None:
        raise ValueError("it has an object that is no tensor")


def _check_containers(text: Any) -> None:
    try:
        spec = json.loads(text) if text else None
    except (TypeError, ValueError, RecursionError):
        raise ValueError("the structure of its arguments is no JSON") from None
    for key, value in _pairs(spec):
        if key == "type" and (not isinstance(value, (str, type(None))) or value not in _CONTAINERS):
            raise ValueError(f"its arguments are in {str(value)[:100]!r}, wanted tuples, lists and dicts")
        if key == "context" and "__enum__" in str(value):
            raise ValueError("the structure of its arguments names an enumeration to import")


def _check_expression(text: Any) -> None:
    """An expression of sizes, as ``Mul(Integer(2), Symbol('s0', positive=True, integer=True))``, or of a guard."""
    refused = ValueError(f"the expression {str(text)[:100]!r} is not one of sizes")
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        raise refused
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise refused from None
    if not all(map(_harmless, nodes)):
        raise refused


def _harmless(node: ast.AST) -> bool:
    """Whether one part of an expression is among those that sizes need; the parts within it are asked by themselves."""
    if isinstance(node, ast.Name):
        return bool(_FUNCTIONS.fullmatch(node.id) or _NAMES.fullmatch(node.id))
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float)) or bool(re.fullmatch(r"\w{1,100}", str(node.value)))
    if isinstance(node, ast.Attribute):
        return node.attr in _METHODS
    if isinstance(node, ast.Call):
        function = node.func
        known = isinstance(function, ast.Name) and _FUNCTIONS.fullmatch(function.id)
        return isinstance(function, ast.Attribute) or known is not None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return isinstance(node.right, ast.Constant) and node.right.value in range(9)
    return isinstance(node, _NODES)
