"""The fields of a class as Pydantic sees them: dataclasses, models, TypedDicts, NamedTuples and generics."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typing_extensions
from pydantic import AliasChoices, BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from servey.core.access import Authorization


@dataclass(frozen=True)
class Part:
    """One field of a class. ``wire`` is its name in Pydantic's input, ``shown`` its name in JSON output."""

    name: str
    annotation: Any
    wire: str
    shown: str
    required: bool = True
    default: Any = PydanticUndefined
    description: str | None = None
    in_input: bool = True
    in_output: bool = True
    read: Callable[[Any], Any] | None = None


def is_object(annotation: Any) -> bool:
    """Whether this is a class whose fields Pydantic validates one by one."""
    cls = get_origin(annotation) or annotation
    if not isinstance(cls, type):
        return False
    if issubclass(cls, BaseModel):
        return not issubclass(cls, RootModel) and not _has_own_schema(cls)
    return (dataclasses.is_dataclass(cls) and not _has_own_schema(cls)) or is_typed_dict(cls) or is_named_tuple(cls)


def is_typed_dict(cls: Any) -> bool:
    """Whether this is a TypedDict of typing or typing_extensions."""
    return typing.is_typeddict(cls) or typing_extensions.is_typeddict(cls)


def is_named_tuple(cls: Any) -> bool:
    """Whether this is a NamedTuple."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def _has_own_schema(cls: type) -> bool:
    """Whether the class customizes its Pydantic schema or serialization as a whole."""
    for base in cls.__mro__:
        if base is Authorization:
            continue  # its own schema only refuses input; its fields are those of the dataclass
        own = base.__module__.partition(".")[0] != "pydantic" and "__get_pydantic_core_schema__" in vars(base)
        if own and (not hasattr(base, "__pydantic_fields__") or issubclass(base, BaseModel)):
            return True
    decorators = getattr(cls, "__pydantic_decorators__", None)
    return bool(decorators is not None and decorators.model_serializers)


def parts_of(annotation: Any) -> list[Part]:
    """Return the fields of a class, with type variables substituted. Errors: any error of an unresolvable annotation."""
    cls = get_origin(annotation) or annotation
    given = dict(zip(getattr(cls, "__parameters__", ()), get_args(annotation), strict=False))
    if issubclass(cls, BaseModel):
        cls.model_rebuild()
        return [*_of_fields(cls, cls.model_fields), *_computed(cls)]
    if is_typed_dict(cls):
        return list(_of_typed_dict(cls, given))
    if is_named_tuple(cls):
        hints = typing.get_type_hints(cls, include_extras=True)
        defaults = cls._field_defaults
        infos = {
            name: _info(substituted(hints.get(name, Any), given), defaults.get(name, PydanticUndefined))
            for name in cls._fields
        }
        return list(_of_fields(cls, infos))
    return list(_of_dataclass(cls, given))


def _of_fields(cls: Any, infos: Mapping[str, FieldInfo]) -> Iterator[Part]:
    decorators = getattr(cls, "__pydantic_decorators__", None)
    customized: set[str] = set()
    for each in decorators.field_serializers.values() if decorators is not None else ():
        customized.update(each.info.fields)
    for name, info in infos.items():
        read = _serialized_reader(cls, name) if {name, "*"} & customized else None
        yield _part(name, info, annotated(info) if read is None else Any, read)


def _part(name: str, info: FieldInfo, annotation: Any, read: Callable[[Any], Any] | None = None) -> Part:
    wire = _first_text(info.validation_alias) or info.alias or name
    return Part(
        name=name,
        annotation=annotation,
        wire=wire,
        shown=info.serialization_alias or info.alias or name,
        required=info.is_required(),
        default=info.default if info.default_factory is None else PydanticUndefined,
        description=info.description,
        in_input=info.init is not False,
        in_output=info.exclude is not True and not info.init_var,
        read=read,
    )


def annotated(info: FieldInfo) -> Any:
    """Return a field's annotation together with the metadata that Pydantic stores separately."""
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def _first_text(alias: Any) -> str | None:
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return next((choice for choice in choices if isinstance(choice, str)), None)


def _computed(cls: type[BaseModel]) -> Iterator[Part]:
    for name, info in cls.model_computed_fields.items():
        annotation = Any if info.return_type is PydanticUndefined else info.return_type
        yield Part(name, annotation, name, info.alias or name, description=info.description, in_input=False)


def _serialized_reader(cls: Any, name: str) -> Callable[[Any], Any]:
    """Return a function that reads a field through the class's own serializer."""

    def read(value: Any) -> Any:
        dumped = cls.__pydantic_serializer__.to_python(value, mode="json", include={name}, by_alias=False)
        return dumped[name]

    return read


_KEY_QUALIFIERS: tuple[Any, ...] = (
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
)


def _of_typed_dict(cls: Any, given: Mapping[Any, Any]) -> Iterator[Part]:
    for name, hint in typing_extensions.get_type_hints(cls, include_extras=True).items():
        while get_origin(hint) in _KEY_QUALIFIERS:
            hint = get_args(hint)[0]
        info = _info(substituted(hint, given), PydanticUndefined)
        part = _part(name, info, annotated(info))
        yield dataclasses.replace(part, required=name in cls.__required_keys__)


def _of_dataclass(cls: Any, given: Mapping[Any, Any]) -> Iterator[Part]:
    if hasattr(cls, "__pydantic_fields__") and not given:
        yield from _of_fields(cls, cls.__pydantic_fields__)
        return
    hints = typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    infos: dict[str, FieldInfo] = {}
    for field in dataclasses.fields(cls):
        hint = substituted(hints[field.name], given)
        default = PydanticUndefined if field.default is dataclasses.MISSING else field.default
        info = _info(hint, default)
        if field.default_factory is not dataclasses.MISSING:
            info.default_factory = field.default_factory
        if not field.init:
            info.init = False
        info.description = info.description or field.metadata.get("description")
        infos[field.name] = info
    yield from _of_fields(cls, infos)


def _info(annotation: Any, default: Any) -> FieldInfo:
    if default is PydanticUndefined:
        return FieldInfo.from_annotation(annotation)
    return FieldInfo.from_annotated_attribute(annotation, default)


def substituted(annotation: Any, given: Mapping[Any, Any]) -> Any:
    """Substitute type variables in an annotation."""
    if isinstance(annotation, TypeVar):
        return given.get(annotation, annotation)
    arguments = get_args(annotation)
    if not arguments or not given or get_origin(annotation) is typing.Literal:
        return annotation
    new: tuple[Any, ...] = tuple(substituted(argument, given) for argument in arguments)
    if new == arguments:
        return annotation
    origin: Any = get_origin(annotation)
    if origin is Annotated:
        return Annotated[new]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[new]  # noqa: UP007 - made of a tuple
    if hasattr(annotation, "copy_with"):
        return annotation.copy_with(new)
    only, *others = new
    return origin[new] if others else origin[only]


def doc_of(cls: Any) -> str | None:
    """Return the docstring of a class, ignoring the one that ``dataclass`` generates."""
    cls = get_origin(cls) or cls
    generic = getattr(cls, "__pydantic_generic_metadata__", None)
    cls = (generic and generic["origin"]) or cls
    doc = vars(cls).get("__doc__")
    if not isinstance(doc, str) or doc.startswith(f"{cls.__name__}(") or not doc.strip():
        return None
    return inspect.cleandoc(doc)
