"""What a class is made of, as pydantic reads it: dataclasses, models, typed dicts, named tuples, generics too."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typing_extensions
from pydantic import AliasChoices, BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


@dataclass(frozen=True)
class Part:
    """One field of a class. ``wire`` is what pydantic takes it by, ``shown`` what it is called in JSON."""

    name: str
    annotation: Any
    wire: str
    shown: str
    required: bool = True
    default: Any = PydanticUndefined
    description: str | None = None
    goes_in: bool = True
    comes_out: bool = True
    read: Callable[[Any], Any] | None = None


def is_object(annotation: Any) -> bool:
    """Whether this is a class with fields of its own that pydantic reads one by one."""
    cls = get_origin(annotation) or annotation
    if not isinstance(cls, type):
        return False
    if issubclass(cls, BaseModel):
        return not issubclass(cls, RootModel) and not _has_own_schema(cls)
    return (dataclasses.is_dataclass(cls) and not _has_own_schema(cls)) or is_typed_dict(cls) or is_named_tuple(cls)


def is_typed_dict(cls: Any) -> bool:
    """Whether this is a typed dict, the standard library's or the other one."""
    return typing.is_typeddict(cls) or typing_extensions.is_typeddict(cls)


def is_named_tuple(cls: Any) -> bool:
    """Whether this is a tuple with names and annotations."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def _has_own_schema(cls: type) -> bool:
    """Whether the class tells pydantic in its own way what it is, or writes itself as something else."""
    for base in cls.__mro__:
        own = base.__module__.partition(".")[0] != "pydantic" and "__get_pydantic_core_schema__" in vars(base)
        if own and (not hasattr(base, "__pydantic_fields__") or issubclass(base, BaseModel)):
            return True
    decorators = getattr(cls, "__pydantic_decorators__", None)
    return bool(decorators is not None and decorators.model_serializers)


def parts_of(annotation: Any) -> list[Part]:
    """The fields of a class, generics filled in. Errors: whatever an annotation raises that can not be resolved."""
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
        infos = {name: _info(hints.get(name, Any), defaults.get(name, PydanticUndefined)) for name in cls._fields}
        return list(_of_fields(cls, infos))
    return list(_of_dataclass(cls, given))


def _of_fields(cls: Any, infos: Mapping[str, FieldInfo]) -> Iterator[Part]:
    decorators = getattr(cls, "__pydantic_decorators__", None)
    written: set[str] = set()
    for each in decorators.field_serializers.values() if decorators is not None else ():
        written.update(each.info.fields)
    for name, info in infos.items():
        read = _dumped(cls, name) if {name, "*"} & written else None
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
        goes_in=info.init is not False,
        comes_out=info.exclude is not True and not info.init_var,
        read=read,
    )


def annotated(info: FieldInfo) -> Any:
    """A field's annotation with the constraints that pydantic has taken off it."""
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def _first_text(alias: Any) -> str | None:
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return next((choice for choice in choices if isinstance(choice, str)), None)


def _computed(cls: type[BaseModel]) -> Iterator[Part]:
    for name, info in cls.model_computed_fields.items():
        annotation = Any if info.return_type is PydanticUndefined else info.return_type
        yield Part(name, annotation, name, info.alias or name, description=info.description, goes_in=False)


def _dumped(cls: Any, name: str) -> Callable[[Any], Any]:
    """Reads a field that its class writes in its own way."""

    def read(value: Any) -> Any:
        dumped = cls.__pydantic_serializer__.to_python(value, mode="json", include={name}, by_alias=False)
        return dumped[name]

    return read


_ABOUT_KEYS: tuple[Any, ...] = (
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
)


def _of_typed_dict(cls: Any, given: Mapping[Any, Any]) -> Iterator[Part]:
    for name, hint in typing_extensions.get_type_hints(cls, include_extras=True).items():
        while get_origin(hint) in _ABOUT_KEYS:
            hint = get_args(hint)[0]
        info = _info(filled(hint, given), PydanticUndefined)
        part = _part(name, info, annotated(info))
        yield dataclasses.replace(part, required=name in cls.__required_keys__)


def _of_dataclass(cls: Any, given: Mapping[Any, Any]) -> Iterator[Part]:
    if hasattr(cls, "__pydantic_fields__") and not given:
        yield from _of_fields(cls, cls.__pydantic_fields__)
        return
    hints = typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    infos: dict[str, FieldInfo] = {}
    for field in dataclasses.fields(cls):
        hint = filled(hints[field.name], given)
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


def filled(annotation: Any, given: Mapping[Any, Any]) -> Any:
    """An annotation with the type variables of a generic class filled in."""
    if isinstance(annotation, TypeVar):
        return given.get(annotation, annotation)
    arguments = get_args(annotation)
    if not arguments or not given or get_origin(annotation) is typing.Literal:
        return annotation
    new = tuple(filled(argument, given) for argument in arguments)
    if new == arguments:
        return annotation
    if get_origin(annotation) is Annotated:
        return Annotated[new]
    if hasattr(annotation, "copy_with"):
        return annotation.copy_with(new)
    if get_origin(annotation) is not None and isinstance(get_origin(annotation), type):
        return get_origin(annotation)[new if len(new) > 1 else new[0]]
    return typing.Union[new]  # noqa: UP007 - made of a tuple


def doc_of(cls: Any) -> str | None:
    """The docstring that a class was given; not the one that ``dataclass`` makes up."""
    cls = get_origin(cls) or cls
    generic = getattr(cls, "__pydantic_generic_metadata__", None)
    cls = (generic and generic["origin"]) or cls
    doc = vars(cls).get("__doc__")
    if not isinstance(doc, str) or doc.startswith(f"{cls.__name__}(") or not doc.strip():
        return None
    return inspect.cleandoc(doc)
