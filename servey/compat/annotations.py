"""Reads annotations through aliases: ``type X = ...``, ``NewType``, generic aliases and forward references."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ForwardRef, TypeVar, Union, get_args, get_origin

from typing_inspection.typing_objects import is_newtype, is_typealiastype

if sys.version_info >= (3, 14):
    from annotationlib import Format

_MOST_ALIASES = 100


def written_annotations(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function as they are written; from Python 3.14, undefined names are forward references."""
    if sys.version_info >= (3, 14):
        return inspect.get_annotations(fn, format=Format.FORWARDREF)
    return fn.__annotations__ if type(fn) is types.FunctionType else inspect.get_annotations(fn)


def written_signature(fn: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a callable without evaluating names in its annotations that are not defined (yet).

    Errors: TypeError, ValueError as for `inspect.signature`. Source: PEP 649.
    """
    if sys.version_info >= (3, 14):
        return inspect.signature(fn, annotation_format=Format.FORWARDREF)
    return inspect.signature(fn)


def expand(annotation: Any, names: Mapping[str, Any] | None = None) -> Any:
    """Return an annotation with the aliases at its top level and in its union members resolved.

    ``names`` is the namespace of forward references; one that cannot be resolved is returned as it is.
    """
    if type(annotation) is type:
        return annotation  # most of them
    for _ in range(_MOST_ALIASES):
        origin = get_origin(annotation)
        if isinstance(annotation, str | ForwardRef):
            found = _evaluated(annotation, names)
            if found is annotation:
                return annotation
            annotation = found
        elif is_typealiastype(annotation):
            names = _module_of(annotation)
            annotation = annotation.__value__
        elif is_typealiastype(origin):
            names = _module_of(origin)
            annotation = _substituted(origin, get_args(annotation))
        elif is_newtype(annotation):
            annotation = annotation.__supertype__
        elif origin is Annotated:
            inner, *metadata = get_args(annotation)
            expanded = expand(inner, names)
            return annotation if expanded is inner else Annotated[(expanded, *metadata)]
        elif origin in (Union, types.UnionType):
            members = get_args(annotation)
            expanded_members = tuple(expand(member, names) for member in members)
            same = all(new is old for new, old in zip(expanded_members, members, strict=True))
            return annotation if same else Union[expanded_members]  # noqa: UP007 - made of a tuple
        else:
            return annotation
    return annotation


def _module_of(alias: Any) -> Mapping[str, Any]:
    return vars(sys.modules.get(alias.__module__, types.SimpleNamespace()))


def _evaluated(reference: str | ForwardRef, names: Mapping[str, Any] | None) -> Any:
    text = reference if isinstance(reference, str) else reference.__forward_arg__
    try:
        return eval(text, dict(names or {}))
    except Exception:
        return reference


def _substituted(alias: Any, arguments: tuple[Any, ...]) -> Any:
    """Return the value of a generic alias with its type parameters replaced."""
    given = dict(zip(alias.__type_params__, arguments, strict=False))
    value = alias.__value__
    if isinstance(value, TypeVar):
        return given.get(value, value)
    wanted = getattr(value, "__parameters__", ())
    return value[tuple(given.get(each, each) for each in wanted)] if wanted else value


def union_members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself if it is no union; ``Annotated`` is unwrapped."""
    if type(annotation) is type:
        return (annotation,)
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for part in get_args(annotation) for member in union_members(part))
    return (annotation,)


def metadata_of(annotation: Any) -> tuple[Any, ...]:
    """Return the metadata of an ``Annotated`` type, or nothing for any other annotation."""
    is_plain = type(annotation) is type
    return get_args(annotation)[1:] if not is_plain and get_origin(annotation) is Annotated else ()


def nested_metadata(annotation: Any) -> Iterator[Any]:
    """Yield the metadata of every ``Annotated`` type inside an annotation, except the one at its top level."""
    expanded = expand(annotation)
    top = get_args(expanded)[0] if get_origin(expanded) is Annotated else expanded
    seen: list[Any] = []
    waiting = list(_arguments(top))
    while waiting:
        part = waiting.pop()
        if any(part is each for each in seen):
            continue
        seen.append(part)  # an alias may contain itself
        part = expand(part)
        yield from metadata_of(part)
        waiting += get_args(part)[:1] if get_origin(part) is Annotated else _arguments(part)


def _arguments(annotation: Any) -> tuple[Any, ...]:
    flat: list[Any] = []
    for each in get_args(annotation):
        flat += each if isinstance(each, list) else [each]  # Callable[[int], str]
    return tuple(flat)
