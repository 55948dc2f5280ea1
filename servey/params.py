"""A function's signature, read once: what its client gives, what the call fills in, what it gives back.

The parameters that a client gives become one pydantic-core validator, which serves query strings, JSON bodies, GraphQL
arguments, job payloads, the command line and Lambda alike. It is a typed dict and not a model, so that parameters may be
called ``json``, ``schema``, ``copy`` or ``model_config``.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, GetCoreSchemaHandler, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

from servey.access import Authorization
from servey.context import Context

Filling = Literal["client", "authorization", "context", "fastapi"]
"""Where a parameter's value comes from: the client's input, the call itself, or FastAPI's injection."""

_FASTAPI_MARKS = {"Depends", "Security", "Header", "Cookie", "Form", "File"}
_FASTAPI_TYPES = {
    "Request",
    "Response",
    "BackgroundTasks",
    "HTTPConnection",
    "WebSocket",
    "UploadFile",
    "SecurityScopes",
}
_STREAMS = (AsyncIterator, AsyncGenerator, AsyncIterable)


class SignatureProblem(Exception):
    """One thing that is wrong with a signature: the parameter that it is about, and what to do."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.parameter = parameter


@dataclass(frozen=True)
class Param:
    """One parameter of an action.

    ``alias`` is its name on the wire, ``info`` the annotation with its constraints and default as pydantic reads them,
    ``filled_by`` who gives its value.
    """

    name: str
    alias: str
    info: FieldInfo
    annotation: Any
    default: Any
    filled_by: Filling

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a client may give it by; the first one is its ``alias``."""
        return _choices(self.info.validation_alias) or (self.alias,)

    @property
    def required(self) -> bool:
        """Whether a call without it is refused."""
        return self.info.is_required()

    @property
    def nullable(self) -> bool:
        """Whether its annotation takes None."""
        return type(None) in union_members(self.info.annotation)


@dataclass(frozen=True)
class Signature:
    """What a function takes and gives back, with its annotations resolved."""

    params: tuple[Param, ...]
    returns: Any
    streams: bool

    @property
    def client(self) -> tuple[Param, ...]:
        """The parameters that a client gives."""
        return tuple(param for param in self.params if param.filled_by == "client")


def signature_of(fn: Callable[..., Any], owner: type | None = None) -> Signature:
    """Reads a function's signature; ``owner`` is its class where it is a method, whose ``self`` becomes a parameter.

    Errors: SignatureProblem for the first thing that can not be served.
    """
    hints = _type_hints(fn, owner)
    params = []
    for name, parameter in inspect.signature(fn).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SignatureProblem("collects arguments with a star; name each parameter instead", name)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise SignatureProblem("is positional only; remove the '/' from the signature", name)
        annotation = owner if owner is not None and name == "self" else hints.get(name, parameter.empty)
        if annotation is parameter.empty and _filled_by(Any, parameter.default) == "fastapi":
            annotation = Any  # `session=Depends(open_session)` says enough
        if annotation is parameter.empty:
            raise SignatureProblem(f"has no annotation; add one, e.g. {name}: int", name)
        params.append(_param(name, annotation, parameter.default))
    if inspect.isgeneratorfunction(fn):
        raise SignatureProblem("is a plain generator; make it 'async def' to stream what it yields")
    streams = inspect.isasyncgenfunction(fn)
    returns = hints.get("return", Any)
    if streams:
        item = get_args(returns) if get_origin(returns) in _STREAMS else ()
        returns = item[0] if item else Any
    return Signature(tuple(params), returns, streams)


def _type_hints(fn: Callable[..., Any], owner: type | None) -> dict[str, Any]:
    # A class defined inside a function can only be found under its own name through the action that it belongs to.
    local_names = {owner.__name__: owner} if owner is not None else None
    try:
        return typing.get_type_hints(fn, localns=local_names, include_extras=True)
    except Exception as whole:
        for name, annotation in inspect.get_annotations(inspect.unwrap(fn)).items():
            probe = types.SimpleNamespace(__annotations__={name: annotation})
            try:
                typing.get_type_hints(probe, getattr(fn, "__globals__", {}), local_names, include_extras=True)
            except Exception as error:
                about = None if name == "return" else name
                text = "return annotation" if about is None else "annotation"
                raise SignatureProblem(f"{text} {annotation!r} can not be resolved: {error}", about) from error
        raise SignatureProblem(f"annotations can not be resolved: {whole}") from whole


def _param(name: str, annotation: Any, default: Any) -> Param:
    filled_by = _filled_by(annotation, default)
    if filled_by == "client":
        info = (
            FieldInfo.from_annotation(annotation)
            if default is inspect.Parameter.empty
            else FieldInfo.from_annotated_attribute(annotation, default)
        )
        if not all(isinstance(each, str) for each in _choices(info.validation_alias)):
            raise SignatureProblem("has an alias that is a path into another value; take that value whole", name)
        alias = next(iter(_choices(info.validation_alias)), info.alias)
    else:
        info = FieldInfo(
            annotation=annotation, default=PydanticUndefined if default is inspect.Parameter.empty else default
        )
        alias = None
    return Param(name, alias or name, info, annotation, default, filled_by)


def _choices(alias: str | AliasPath | AliasChoices | None) -> tuple[Any, ...]:
    if isinstance(alias, AliasChoices):
        return tuple(alias.choices)
    return () if alias is None else (alias,)


def _filled_by(annotation: Any, default: Any) -> Filling:
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    if any(_comes_from_fastapi(type(mark), _FASTAPI_MARKS) for mark in (*metadata, default)):
        return "fastapi"
    for member in union_members(annotation):
        if member is Authorization:
            return "authorization"
        if member is Context:
            return "context"
        members = get_args(member) if get_origin(member) is list else (member,)  # list[UploadFile]
        if any(isinstance(each, type) and _comes_from_fastapi(each, _FASTAPI_TYPES) for each in members):
            return "fastapi"
    return "client"


def _comes_from_fastapi(cls: type, names: set[str]) -> bool:
    # By name, so that a project without FastAPI's markers never pays for importing it.
    return any(
        base.__name__ in names and base.__module__.partition(".")[0] in ("fastapi", "starlette") for base in cls.__mro__
    )


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation: those of a union, else just itself; ``Annotated`` is looked through."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for part in get_args(annotation) for member in union_members(part))
    return (annotation,)


def params_type(title: str, params: tuple[Param, ...]) -> Any:
    """A type whose pydantic schema is one object with a key for each of these parameters.

    It validates to a plain dict of Python values by parameter name, defaults filled in.
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
    # Of the field's own facts, the constraints and the words that documents show; alias and default are said around it.
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


def _facts_only(info: FieldInfo) -> FieldInfo:
    facts = FieldInfo(
        title=info.title,
        description=info.description,
        examples=info.examples,
        json_schema_extra=info.json_schema_extra,
        discriminator=info.discriminator,
    )
    facts.metadata = list(info.metadata)
    return facts


def result_type(returns: Any) -> Any:
    """What a result is validated and serialized as: the annotation without whole responses; ``Response`` itself where
    there is nothing else.
    """
    members = union_members(returns)
    values = [member for member in members if not _is_response(member)]
    if len(values) == len(members):
        return returns
    return Union[tuple(values)] if values else members[0]  # noqa: UP007 - made of a tuple


def result_adapter(returns: Any) -> TypeAdapter[Any] | None:
    """What validates and serializes a result; None where the function only gives whole responses of its own."""
    type_ = result_type(returns)
    return None if _is_response(type_) else TypeAdapter(type_)


def _is_response(member: Any) -> bool:
    return isinstance(member, type) and _comes_from_fastapi(member, {"Response"})
