"""What a claim expects of its measurements: `vae.best_psnr > deterministic.best_psnr + 1.0`."""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from statistics import linear_regression

Value = float | Sequence[Sequence[float]]  # a number, or a curve of (x, y)

ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
RELATIONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
FUNCTIONS: dict[str, Callable[[Sequence[Sequence[float]]], float]] = {
    "slope": lambda curve: linear_regression(*zip(*curve, strict=True)).slope,
    "mean": lambda curve: sum(y for _, y in curve) / len(curve),
}


class Expectation:
    """Comparisons joined by `and`, of numbers, names, + - * /, and slope(name) or mean(name) of a curve.

    A name is variant.metric, or the variant alone where it has but one metric. Nothing is executed: the text
    is parsed, and only these forms are understood.

    Raises: ValueError, in one line, for anything else.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"not an expression: {text!r}") from error
        self.names: list[str] = []
        self._read_condition(self._tree)

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether it is true of these values by name; a division by zero holds nothing.

        Raises: ValueError where a curve stands for a number or a number for a curve.
        """
        try:
            return self._condition(self._tree, values)
        except ZeroDivisionError:
            return False

    def _read_condition(self, node: ast.expr) -> None:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                for part in parts:
                    self._read_condition(part)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                type(op) in RELATIONS for op in ops
            ):
                for side in (left, *others):
                    self._read_number(side)
            case _:
                raise ValueError(f"expected a comparison by < <= > >=, got {self._source(node)}")

    def _read_number(self, node: ast.expr) -> None:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                self._read_number(left)
                self._read_number(right)
            case ast.UnaryOp(op=ast.USub(), operand=inside):
                self._read_number(inside)
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                pass
            case ast.Call(func=ast.Name(id=name), args=[ast.Name() | ast.Attribute() as of], keywords=[]):
                if name not in FUNCTIONS:
                    raise ValueError(f"no such function: {name}; there are: {', '.join(FUNCTIONS)}")
                self.names.append(_dotted(of))
            case ast.Name() | ast.Attribute():
                self.names.append(_dotted(node))
            case _:
                raise ValueError(f"not a number, a name, + - * /, slope or mean: {self._source(node)}")

    def _source(self, node: ast.expr) -> str:
        return repr(ast.get_source_segment(self.text.strip(), node) or self.text)

    def _condition(self, node: ast.expr, values: Mapping[str, Value]) -> bool:
        if isinstance(node, ast.BoolOp):
            return all(self._condition(part, values) for part in node.values)
        assert isinstance(node, ast.Compare)  # nothing else was let in
        sides = [self._number(side, values) for side in (node.left, *node.comparators)]
        return all(RELATIONS[type(op)](a, b) for op, a, b in zip(node.ops, sides, sides[1:], strict=False))

    def _number(self, node: ast.expr, values: Mapping[str, Value]) -> float:
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                return ARITHMETIC[type(op)](self._number(left, values), self._number(right, values))
            case ast.UnaryOp(operand=inside):
                return -self._number(inside, values)
            case ast.Constant(value=int() | float() as value):
                return value
            case ast.Call(func=ast.Name(id=function), args=[of]):
                curve = values[_dotted(of)]
                if isinstance(curve, int | float):
                    raise ValueError(f"{_dotted(of)} is a number; {function} takes a curve")
                return FUNCTIONS[function](curve)
        number = values[_dotted(node)]
        if not isinstance(number, int | float):
            raise ValueError(f"{_dotted(node)} is a curve; compare its slope or its mean")
        return number


def _dotted(node: ast.expr) -> str:
    """`variant` or `variant.metric`.

    Raises: ValueError for anything deeper.
    """
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=variant), attr=metric):
            return f"{variant}.{metric}"
    raise ValueError(f"expected variant.metric, got {ast.unparse(node)}")
