"""Between plain values (YAML, JSON, the command line) and typed dataclasses, strictly and both ways."""

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from envs.errors import EmbodiedError, unknown


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass instance as nested dictionaries of plain values, as JSON gives them back."""
    return {name: _plain(value) for name, value in dataclasses.asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def from_dict[T](kind: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """An instance of the dataclass `kind` from nested values; missing fields keep their default.

    Args:
        kind: a dataclass whose fields are typed with int, float, bool, str, Literal, None, tuples or dataclasses.
        values: nested plain values.
        path: where `values` stands in the whole, for messages.

    Raises:
        EmbodiedError: for a name that is no field, or a value of another type, naming what is allowed.
    """
    hints = get_type_hints(kind)
    result = {}
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        if name not in hints:
            raise unknown("setting", here, [f"{path}.{field}" if path else field for field in hints])
        result[name] = convert(hints[name], value, here)
    return kind(**result)


def convert(kind: Any, value: Any, path: str) -> Any:
    """`value` as the type `kind`; raises `EmbodiedError` naming `path` and what is allowed there."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise EmbodiedError(f"{path} is a group of settings, not {value!r}.")
        return from_dict(kind, value, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value not in arguments:
            raise unknown(path, value, [str(a) for a in arguments])
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = [a for a in arguments if a is not type(None)]
        return convert(inner, value, path)
    if origin is tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise EmbodiedError(f"{path} must be a list, not {value!r}.")
        return tuple(convert(arguments[0], item, path) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        raise EmbodiedError(f"{path} must be {names[kind]}, not {value!r}.")
    return value


def from_text[T](kind: type[T], words: list[str]) -> T:
    """The flat dataclass `kind` from `key=value` words; values are read by the type of their field.

    Raises:
        EmbodiedError: for a word without `=`, an unknown key or a value of another type.
    """
    hints = get_type_hints(kind)
    values = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise EmbodiedError(f"{word!r} is not of the form key=value; keys: {', '.join(hints)}.")
        if key not in hints:
            raise unknown("option", key, hints)
        values[key] = _read(hints[key], text)
    return from_dict(kind, values)


def _read(kind: Any, text: str) -> Any:
    """Text as the plain value that the type `kind` expects; text that does not read is returned as it is."""
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if type(None) in options and text in ("null", "none", "None", ""):
        return None
    if bool in options and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        if number in options:
            try:
                return number(text)
            except ValueError:
                continue
    if any(get_origin(option) is tuple for option in options):
        inner = next(get_args(option)[0] for option in options if get_origin(option) is tuple)
        return [_read(inner, part) for part in text.split(",") if part]
    return text


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested dictionaries."""
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from leaves(value, here)
        else:
            yield here, value


def names(kind: type) -> dict[str, Any]:
    """Dotted names of all settings of the dataclass `kind` (groups included) and their types."""
    result: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        result[name] = hint
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            result.update({f"{name}.{inner}": each for inner, each in names(hint).items()})
    return result


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted names of settings whose values differ."""
    first, second = dict(leaves(one)), dict(leaves(other))
    return sorted(k for k in first.keys() | second.keys() if first.get(k) != second.get(k))


def documents(kind: type) -> dict[str, str]:
    """Dotted names of all settings of the dataclass `kind` and what is written under each, on one line."""
    source = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    body = source.body if isinstance(source, ast.ClassDef) else []
    result = {}
    for line, below in itertools.pairwise(body):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(below, ast.Expr):
            result[line.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            result[name] = inspect.cleandoc(hint.__doc__ or "")
            result.update({f"{name}.{inner}": text for inner, text in documents(hint).items()})
    return result
