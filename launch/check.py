"""Check every node of a config against its component's signature, before anything is built."""

import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeGuard, Union

from checkpoints.build import is_node, locate, parameters, wants_factory
from launch.presets import Kind, kind_of_component, kinds
from launch.problems import Problem, did_you_mean, names

Config = dict[str, Any]


def check(raw: Config, resolved: Config, missing: set[str], given: dict[str, set[str]]) -> list[Problem]:
    """All that is wrong with a config.

    raw, resolved: the config before and after interpolation; a node that others refer to is checked once.
    missing: paths already reported as needing a value.
    given: arguments that the launcher passes itself, by path of the node.
    """
    from launch.plain import part_types

    types_of_parts = part_types()
    open_ended = _referred(raw) | (raw.keys() - types_of_parts.keys())  # built by those that refer to them
    given = given | {path: given.get(path, set()) | {"*"} for path in open_ended}
    problems: list[Problem] = []
    for key, value in resolved.items():
        if not _is_reference(raw.get(key)):
            problems += _check_value(key, value, raw.get(key), types_of_parts.get(key, Any), missing, given)
    return problems


def kind_of_parameter(component: str, parameter: str) -> Kind | None:
    """The kind of component that a constructor's parameter takes, read from its annotation."""
    try:
        annotation = parameters(locate(component))[parameter].annotation
    except (ImportError, KeyError):
        return None
    for contract in _contracts(annotation):
        if contract.__module__ in kinds():
            return kinds()[contract.__module__]
    return None


def _check_value(
    path: str, value: Any, raw: Any, annotation: Any, missing: set[str], given: dict[str, set[str]]
) -> list[Problem]:
    if path in missing:
        return []
    if is_node(value):
        problems = _check_node(path, value, raw, missing, given, complete=not wants_factory(annotation))
        return problems or _check_contract(path, value["_component_"], annotation)
    if isinstance(value, dict):
        if not fits(value, annotation):
            return [_mismatch(path, value, annotation)]
        item = typing.get_args(annotation)[1] if typing.get_origin(annotation) is dict else Any
        problems = []
        for key, part in value.items():
            part_raw = raw.get(key) if isinstance(raw, dict) else None
            if not _is_reference(part_raw):
                problems += _check_value(f"{path}.{key}", part, part_raw, item, missing, given)
        return problems
    return [] if fits(value, annotation) else [_mismatch(path, value, annotation)]


def _mismatch(path: str, value: Any, annotation: Any) -> Problem:
    hint = " (write null for nothing)" if value == "None" else ""
    return Problem(path, f"expected {describe(annotation)}, got {value!r}{hint}")


def _check_node(
    path: str, node: Config, raw: Any, missing: set[str], given: dict[str, set[str]], *, complete: bool
) -> list[Problem]:
    name = node["_component_"]
    try:
        component = locate(name)
        known = parameters(component)
    except ImportError as error:
        kind = kind_of_component(name)
        hint = f"; {names(kind.nodes)}" if kind else ""
        return [Problem(path, f"no such component: {error}{hint}")]
    problems = []
    launcher = given.get(path, set())
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    for key, value in node.items():
        if key == "_component_":
            continue
        if key not in known and not takes_any:
            near = did_you_mean(key, known)
            takes = f"; {name.rpartition('.')[2]} takes: {', '.join(known)}" if len(known) < 12 else ""
            problems.append(Problem(f"{path}.{key}", f"unknown key{near or takes}"))
            continue
        annotation = known[key].annotation if key in known else Any
        key_raw = raw.get(key) if isinstance(raw, dict) else None
        if _is_reference(key_raw):
            if is_node(value):  # its keys are checked where it stands; here, whether it belongs
                if not wants_factory(annotation):
                    problems += _check_complete(f"{path}.{key}", value, set())
                problems += _check_contract(f"{path}.{key}", value["_component_"], annotation)
            elif not isinstance(value, dict) and not fits(value, annotation):
                source = key_raw[2:-1] if key_raw.count("$") == 1 else f"{path}.{key}"  # said where it is set
                problems.append(_mismatch(source, value, annotation))
            continue
        problems += _check_value(f"{path}.{key}", value, key_raw, annotation, missing, given)
    return problems + (_check_complete(path, node, launcher) if complete and "*" not in launcher else [])


def _check_complete(path: str, node: Config, launcher: set[str]) -> list[Problem]:
    """Whether every argument without a default has a value."""
    problems = []
    try:
        known = parameters(locate(node["_component_"]))
    except ImportError:
        return []  # said where the node stands
    for key, parameter in known.items():
        named = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if named and parameter.default is parameter.empty and key not in node and key not in launcher:
            problems.append(Problem(f"{path}.{key}", f"needs a value: {describe(parameter.annotation)}"))
    return problems


def _check_contract(path: str, name: str, annotation: Any) -> list[Problem]:
    """Whether a component is of the kind that its owner asks for; a function is what it says it returns."""
    contracts = _contracts(annotation)
    try:
        component = locate(name)
    except ImportError:
        return []  # said where the node stands
    made = component if inspect.isclass(component) else typing.get_type_hints(component).get("return")
    if not contracts or (inspect.isclass(made) and any(_meets(made, contract) for contract in contracts)):
        return []
    kind = kinds().get(contracts[0].__module__)
    hint = f"; {names(kind.nodes)}" if kind else ""
    return [Problem(path, f"expected {describe(annotation)}, got {name}{hint}")]


def _meets(component: type, contract: type) -> bool:
    if getattr(contract, "_is_protocol", False):
        methods = [
            name for name in vars(contract) if not name.startswith("_") and callable(vars(contract)[name])
        ]
        if not methods and contract.__module__ in kinds():  # nearly all can be called: go by where it lies
            kind = kind_of_component(f"{component.__module__}.{component.__qualname__}")
            calls = any("__call__" in vars(base) for base in component.__mro__)
            return calls and (kind is None or kind.name == contract.__module__)
        known = inspect.get_annotations(component)  # a module that can be called is as good as a method
        return all(hasattr(component, method) or method in known for method in methods)
    return issubclass(component, contract)


def fits(value: Any, annotation: Any) -> bool:
    """Whether a plain config value can be passed where a parameter is annotated so."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty) or isinstance(annotation, typing.TypeVar):
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is typing.Annotated:
        return fits(value, arguments[0])
    if origin is Literal:
        return value in arguments and not (isinstance(value, bool) and True not in arguments)
    if annotation in (None, type(None)):
        return value is None
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str)
    if annotation is Path:
        return isinstance(value, str)
    if origin is tuple and isinstance(value, list):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(fits(part, arguments[0]) for part in value)
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if isinstance(value, list):
        takes_list = inspect.isclass(origin) and issubclass(list, origin)
        return annotation is list or (takes_list and all(fits(part, arguments[0]) for part in value))
    if isinstance(value, dict):
        return annotation is dict or (inspect.isclass(origin) and issubclass(dict, origin))
    return False  # a scalar where a component, a list or another object belongs


def describe(annotation: Any) -> str:
    """What a parameter expects, in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    words = {int: "an integer", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    if annotation in words:
        return words[annotation]
    if annotation in (None, type(None)):
        return "null"
    if origin in (Union, types.UnionType):
        plain = [option for option in arguments if not _contracts(option)]
        return " or ".join(
            dict.fromkeys(map(describe, plain if plain not in ([], [type(None)]) else arguments))
        )
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        return "[" + ", ".join("..." if a is Ellipsis else describe(a) for a in arguments) + "]"
    if inspect.isclass(origin) and issubclass(list, origin) and arguments:
        return f"a list of {describe(arguments[0]).removeprefix('a ').removeprefix('an ')}s"
    contracts = _contracts(annotation)
    if contracts:
        kind = kinds().get(contracts[0].__module__)
        return f"a {kind.noun}, by name ({names(kind.nodes)})" if kind else f"a {contracts[0].__name__}"
    return str(annotation)


def _contracts(annotation: Any) -> list[type]:
    """The component types inside an annotation: through optionals and factories, without plain types."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return [contract for option in arguments for contract in _contracts(option)]
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Callable):  # type: ignore[arg-type]
        return _contracts(arguments[-1])
    plain = (Any, int, float, bool, str, Path, list, dict, tuple, type(None), object)
    return [annotation] if inspect.isclass(annotation) and origin is None and annotation not in plain else []


def _is_reference(raw: Any) -> TypeGuard[str]:
    return isinstance(raw, str) and raw.startswith("${") and raw.endswith("}")


def _referred(raw: Any) -> set[str]:
    """Paths that some other key follows: `optimizer` in `model: {optimizer: ${optimizer}}`."""
    if isinstance(raw, dict):
        return {path for value in raw.values() for path in _referred(value)}
    return {raw[2:-1]} if _is_reference(raw) else set()
