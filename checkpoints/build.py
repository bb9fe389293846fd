"""Build the object that a `_component_` node describes."""

import collections.abc
import functools
import importlib
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeGuard


def locate(path: str) -> Any:
    """The class or function at a dotted path.

    Raises:
        ImportError: there is no such module, or nothing of that name in it.
    """
    module_path, _, name = str(path).rpartition(".")
    if not module_path:
        raise ImportError(f"{path!r} is not a dotted path")
    module = importlib.import_module(module_path)
    if not hasattr(module, name):
        raise ImportError(f"module {module_path} has nothing called {name!r}")
    return getattr(module, name)


def parameters(component: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a component's constructor by name, annotations resolved to types."""
    function = component.__init__ if inspect.isclass(component) else component
    signature = inspect.signature(component)
    hints = typing.get_type_hints(inspect.unwrap(function))
    return {
        name: parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in signature.parameters.items()
    }


def wants_factory(annotation: Any) -> bool:
    """Whether a parameter takes a component still to be completed: `Callable[..., T]`, optional or not."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(wants_factory(option) for option in typing.get_args(annotation))
    return typing.get_origin(annotation) is collections.abc.Callable


def _wants_float(value: Any, annotation: Any) -> bool:
    """Whether a whole number stands where only a float is declared: `lr: 1`."""
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    options = typing.get_args(annotation) or (annotation,)
    return float in options and int not in options


def is_node(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, Mapping) and "_component_" in value


def build(value: Any, annotation: Any = None, **given: Any) -> Any:
    """Build a config value: nodes become components, depth first; all else is returned as it is.

    Args:
        value: plain containers and scalars, interpolations already resolved.
        annotation: the type that the receiving parameter declares; `Callable[..., T]` gets a partial.
        given: arguments that the config cannot hold (built objects); they win over the node's.
    """
    if not is_node(value):
        if isinstance(value, Mapping):
            item = typing.get_args(annotation)[1] if typing.get_origin(annotation) is dict else None
            return {name: build(part, item) for name, part in value.items()}
        if isinstance(value, list):
            parts = [build(part) for part in value]
            return tuple(parts) if typing.get_origin(annotation) is tuple else parts
        return float(value) if _wants_float(value, annotation) else value
    component = locate(value["_component_"])
    known = parameters(component)
    arguments = {
        name: build(part, known[name].annotation if name in known else None)
        for name, part in value.items()
        if name != "_component_" and name not in given
    }
    arguments |= given
    if wants_factory(annotation):
        return functools.partial(component, **arguments)
    return component(**arguments)
