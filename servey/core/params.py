"""Reads a function's signature once: client parameters, injected parameters and the result type.

The client's parameters become one pydantic-core validator that every transport uses: query strings, JSON bodies, GraphQL
arguments, job payloads, the command line and Lambda. It is a typed dict and not a model, so that parameters may be called
``json``, ``schema``, ``copy`` or ``model_config``.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, GetCoreSchemaHandler, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

from servey.compat.annotations import expand, metadata_of, nested_metadata, union_members, written_annotations
from servey.core.access import Authorization
from servey.core.context import Context

Filling = Literal["client", "authorization", "context", "fastapi"]
"""Where a parameter's value comes from: the client's input, the call itself, or FastAPI's dependency injection."""

_DEPENDS = frozenset({"Depends", "Security"})
_FASTAPI_MARKS = frozenset({"Depends", "Security", "Header", "Cookie", "Form", "File"})
_FASTAPI_TYPES = frozenset(
    {"Request", "Response", "BackgroundTasks", "HTTPConnection", "WebSocket", "UploadFile", "SecurityScopes"}
)
_RESPONSE = frozenset({"Response"})
_STREAMS = (AsyncIterator, AsyncGenerator, AsyncIterable)


class SignatureProblem(Exception):
    """A signature cannot be served; names the parameter and says what to do."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.parameter = parameter


@dataclass(frozen=True)
class Wanted:
    """A value that a parameter receives from the call itself.

    Shape: ``classes`` are the accepted classes: `Authorization`, `Context` or subclasses; ``required`` is False if None is
    accepted too.
    """

    kind: Literal["authorization", "context"]
    classes: tuple[type, ...]
    required: bool


@dataclass(frozen=True)
class Param:
    """One parameter of an action.

    ``alias`` is its name on the wire, ``info`` the annotation with its constraints and default as pydantic reads them,
    ``filled_by`` the source of its value, ``wanted`` what it receives from the call itself.
    """

    name: str
    alias: str
    info: FieldInfo
    annotation: Any
    default: Any
    filled_by: Filling
    wanted: Wanted | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a client may use for it; the first one is its ``alias``."""
        return _choices(self.info.validation_alias) or (self.alias,)

    @property
    def required(self) -> bool:
        """Whether a call without it is invalid."""
        return self.info.is_required()

    @property
    def nullable(self) -> bool:
        """Whether its annotation allows None."""
        return type(None) in union_members(self.info.annotation)


@dataclass(frozen=True)
class Signature:
    """The parameters and the result type of a function, with annotations resolved."""

    params: tuple[Param, ...]
    returns: Any
    streams: bool

    @property
    def client(self) -> tuple[Param, ...]:
        """The parameters that come from the client's input."""
        return tuple(param for param in self.params if param.filled_by == "client")


def signature_of(fn: Callable[..., Any], owner: type | None = None) -> Signature:
    """Read a function's signature. ``owner`` is the class of a method; its ``self`` becomes a parameter.

    Errors: SignatureProblem for the first problem found.
    """
    hints = _type_hints(fn, owner)
    params = []
    signature = inspect.signature(fn)
    written = inspect.get_annotations(inspect.unwrap(fn))
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SignatureProblem("is *args or **kwargs; name each parameter instead", name)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise SignatureProblem("is positional only; remove the '/' from the signature", name)
        annotation = owner if owner is not None and name == "self" else hints.get(name, parameter.empty)
        if (
            name != "self"
            and not isinstance(parameter.annotation, str)
            and parameter.annotation is not written.get(name)
        ):
            annotation = parameter.annotation  # a decorator has set `__signature__`
        if annotation is parameter.empty and is_fastapis_mark(parameter.default):
            annotation = Any  # `session=Depends(open_session)` needs no annotation
        if annotation is parameter.empty:
            raise SignatureProblem(f"has no annotation; add one, e.g. {name}: int", name)
        params.append(_param(name, annotation, parameter.default))
    if inspect.isgeneratorfunction(fn):
        raise SignatureProblem("is a plain generator; use 'async def' to stream its items")
    streams = inspect.isasyncgenfunction(fn)
    returns = hints.get("return", Any)
    declared = signature.return_annotation
    if not isinstance(declared, str) and declared not in (signature.empty, written.get("return")):
        returns = declared
    if streams:
        item = get_args(returns) if get_origin(returns) in _STREAMS else ()
        returns = item[0] if item else Any
    return Signature(tuple(params), returns, streams)


def _type_hints(fn: Callable[..., Any], owner: type | None) -> dict[str, Any]:
    # A class defined inside a function is not in the module's globals, so pass it in by name.
    local_names: dict[str, Any] = {owner.__name__: owner} if owner is not None else {}
    try:
        return typing.get_type_hints(fn, localns=local_names or None, include_extras=True)
    except Exception as whole:
        modules = _named_modules(fn)
        if not modules.keys() <= local_names.keys():
            with suppress(Exception):
                return typing.get_type_hints(fn, localns={**modules, **local_names}, include_extras=True)
        for name, annotation in written_annotations(inspect.unwrap(fn)).items():
            probe = types.SimpleNamespace(__annotations__={name: annotation})
            try:
                typing.get_type_hints(probe, getattr(fn, "__globals__", {}), local_names, include_extras=True)
            except Exception as error:
                about = None if name == "return" else name
                text = "return annotation" if about is None else "annotation"
                shown = getattr(annotation, "__forward_arg__", annotation)
                raise SignatureProblem(f"{text} {shown!r} cannot be resolved: {error}", about) from error
        raise SignatureProblem(f"annotations cannot be resolved: {whole}") from whole


_DOTTED = re.compile(r"(?<![\w.])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\.[A-Za-z_]\w*")


def _named_modules(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the modules of references such as ``ForwardRef("shop.models.Item")``, which need no import of ``shop``."""
    texts = [text for annotation in written_annotations(inspect.unwrap(fn)).values() for text in _texts(annotation)]
    found: dict[str, Any] = {}
    for path in {path for text in texts for path in _DOTTED.findall(text)}:
        top = path.partition(".")[0]
        if top not in getattr(fn, "__globals__", {}):
            with suppress(ImportError):
                importlib.import_module(path)
            if top in sys.modules:
                found[top] = sys.modules[top]
    return found


def _texts(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, str | typing.ForwardRef):
        yield annotation if isinstance(annotation, str) else annotation.__forward_arg__
    for argument in get_args(annotation):
        yield from _texts(argument)


def _param(name: str, annotation: Any, default: Any) -> Param:
    expanded = expand(annotation)
    if hides_depends(annotation):
        raise SignatureProblem("has Depends inside a type; use Annotated[the whole type, Depends(...)]", name)
    wanted = wanted_of(annotation, default)
    if wanted is not None:
        if wanted.kind == "context" and Context not in wanted.classes:
            raise SignatureProblem("is annotated with a subclass of Context; use Context", name)
        filled_by: Filling = wanted.kind
    elif _is_fastapis(expanded, default):
        filled_by = "fastapi"
    else:
        filled_by = "client"
    if filled_by == "client":
        info = (
            FieldInfo.from_annotation(annotation)
            if default is inspect.Parameter.empty
            else FieldInfo.from_annotated_attribute(annotation, default)
        )
        if not all(isinstance(each, str) for each in _choices(info.validation_alias)):
            raise SignatureProblem("has an AliasPath as its alias, which is not supported; use a plain alias", name)
        alias = next(iter(_choices(info.validation_alias)), info.alias)
    else:
        annotation = expanded
        info = FieldInfo(
            annotation=annotation, default=PydanticUndefined if default is inspect.Parameter.empty else default
        )
        alias = None
    return Param(name, alias or name, info, annotation, default, filled_by, wanted)


def _choices(alias: str | AliasPath | AliasChoices | None) -> tuple[Any, ...]:
    if isinstance(alias, AliasChoices):
        return tuple(alias.choices)
    return () if alias is None else (alias,)


def wanted_of(annotation: Any, default: Any = inspect.Parameter.empty) -> Wanted | None:
    """Return what of the call a parameter receives, or None if its value comes from elsewhere.

    Aliases, ``NewType``, subclasses and unions are resolved. A parameter with ``Depends(f)`` receives the value of ``f``.
    """
    annotation = expand(annotation)
    for mark in (*metadata_of(annotation), default):
        if _comes_from_fastapi(type(mark), _DEPENDS) and mark.dependency is not None:
            return wanted_class(mark.dependency)
    members = union_members(annotation)
    kinds: tuple[tuple[Literal["authorization", "context"], type], ...] = (
        ("authorization", Authorization),
        ("context", Context),
    )
    for kind, base in kinds:
        classes = tuple(cls for member in members if (cls := _subclass(member, base)) is not None)
        if classes:
            return Wanted(kind, classes, type(None) not in members)
    return None


def wanted_class(call: Any) -> Wanted | None:
    """Return what a dependency receives if it is `Authorization`, `Context` or a subclass, as in ``Depends(Context)``."""
    while isinstance(call, partial):
        call = call.func
    return wanted_of(call) if isinstance(call, type) else None


def _subclass(member: Any, base: type) -> type | None:
    cls = get_origin(member) or member
    return cls if isinstance(cls, type) and issubclass(cls, base) else None


def hides_depends(annotation: Any) -> bool:
    """Return whether ``Depends`` is inside a type, e.g. in a union member, where FastAPI does not see it."""
    is_plain = type(annotation) is type
    return not is_plain and any(_comes_from_fastapi(type(mark), _DEPENDS) for mark in nested_metadata(annotation))


def is_fastapis_mark(mark: Any) -> bool:
    """Return whether this metadata makes FastAPI inject a parameter."""
    return _comes_from_fastapi(type(mark), _FASTAPI_MARKS)


def _is_fastapis(annotation: Any, default: Any) -> bool:
    if any(map(is_fastapis_mark, (*metadata_of(annotation), default))):
        return True
    for member in union_members(annotation):
        members = get_args(member) if get_origin(member) is list else (member,)  # list[UploadFile]
        if any(isinstance(each, type) and _comes_from_fastapi(each, _FASTAPI_TYPES) for each in members):
            return True
    return False


def _comes_from_fastapi(cls: type, names: frozenset[str]) -> bool:
    # Compared by name, so that FastAPI is not imported for projects that do not use its markers.
    return any(
        base.__name__ in names and base.__module__.partition(".")[0] in ("fastapi", "starlette") for base in cls.__mro__
    )


def params_type(title: str, params: tuple[Param, ...]) -> Any:
    """Return a type whose pydantic schema is one object with a key for each of these parameters.

    It validates to a plain dict of Python values by parameter name, with defaults filled in.
    """

    def core(cls: type, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        fields = {param.name: _typed_dict_field(param, handler) for param in params}
        return core_schema.typed_dict_schema(
            fields,
            cls=cls,
            cls_name=title,
            ref=f"{title}:{id(cls)}",
            extra_behavior="ignore",
            config=core_schema.CoreConfig(title=title, allow_inf_nan=False),
        )

    return type(title, (), {"__get_pydantic_core_schema__": classmethod(core), "__doc__": None})


def _typed_dict_field(param: Param, handler: GetCoreSchemaHandler) -> core_schema.TypedDictField:
    info = param.info
    # Only constraints and documentation; alias and default are set on the field around this schema.
    inner = handler.generate_schema(Annotated[info.annotation, _facts_only(info)])
    if not param.required:
        inner = core_schema.with_default_schema(inner, **_default(info), validate_default=info.validate_default)
    alias = param.alias if param.alias != param.name else None
    if info.validation_alias is not None and not isinstance(info.validation_alias, str):
        alias = info.validation_alias.convert_to_aliases()  # type: ignore[assignment]
    return core_schema.typed_dict_field(
        inner, required=param.required, validation_alias=alias, serialization_alias=param.alias
    )


def _default(info: FieldInfo) -> Mapping[str, Any]:
    if info.default_factory is not None:
        return {"default_factory": info.default_factory}
    return {"default": info.default}


def _schema_extra(info: FieldInfo) -> Any:
    extra = info.json_schema_extra
    if not info.deprecated or callable(extra):
        return extra
    return {**(extra or {}), "deprecated": True}


def _facts_only(info: FieldInfo) -> FieldInfo:
    facts = FieldInfo(
        title=info.title,
        description=info.description,
        examples=info.examples,
        json_schema_extra=_schema_extra(info),
        discriminator=info.discriminator,
    )
    facts.metadata = list(info.metadata)
    return facts


def result_type(returns: Any) -> Any:
    """Return the type that a result is validated and serialized as: the annotation without ``Response`` types, or
    ``Response`` if it has no other member.
    """
    members = union_members(returns)
    values = [member for member in members if not is_response(member)]
    if len(values) == len(members):
        return returns
    return Union[tuple(values)] if values else members[0]  # noqa: UP007 - made of a tuple


def result_adapter(returns: Any) -> TypeAdapter[Any] | None:
    """Return the adapter that validates and serializes a result, or None if the function only returns ``Response``."""
    type_ = result_type(returns)
    return None if is_response(type_) else TypeAdapter(type_)


def is_response(member: Any) -> bool:
    """Whether an annotation is a Starlette response."""
    return isinstance(member, type) and _comes_from_fastapi(member, _RESPONSE)
