"""Special results of page actions: a model with status and headers, or a redirect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args, get_origin

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from servey.compat.annotations import union_members
from servey.core.errors import ConfigError
from servey.core.params import is_response

T = TypeVar("T")

REDIRECTS = (301, 302, 303, 307, 308)


class WebPageResponse(Generic[T]):
    """The model of a page with the status, headers and template of this response.

    Other transports return only the model, whose type is ``Item`` in ``WebPageResponse[Item]``.
    """

    # Not a dataclass: pydantic would validate its fields instead of calling __get_pydantic_core_schema__.
    def __init__(
        self,
        model: T,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        template_name: str | None = None,
    ) -> None:
        self.model = model
        self.status_code = status_code
        self.headers: Mapping[str, str] = headers or {}
        self.template_name = template_name

    def __repr__(self) -> str:
        return f"WebPageResponse({self.model!r}, {self.status_code}, {self.headers!r}, {self.template_name!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = handler.generate_schema((get_args(source) or (Any,))[0])

        def dump(response: WebPageResponse[Any], serialize: core_schema.SerializerFunctionWrapHandler) -> Any:
            return serialize(response.model)

        def check(response: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> WebPageResponse[Any]:
            if not isinstance(response, WebPageResponse):
                raise ValueError("not a WebPageResponse")
            checked = validate(response.model)
            return WebPageResponse(checked, response.status_code, response.headers, response.template_name)

        return core_schema.no_info_wrap_validator_function(
            check, inner, serialization=core_schema.wrap_serializer_function_ser_schema(dump, schema=inner)
        )


@dataclass(frozen=True)
class Redirect:
    """A redirect to a URL of this app, or of an origin listed in SERVEY_REDIRECT_ORIGINS.

    Other transports return an object with these two fields. Use status 303 after a successful form.
    Source: RFC 9110 section 15.4.
    Errors: ConfigError for a status that is not a redirect.
    """

    url: str
    status_code: int = 307

    def __post_init__(self) -> None:
        if self.status_code not in REDIRECTS:
            known = ", ".join(map(str, REDIRECTS))
            raise ConfigError(f"Redirect({self.url!r}, {self.status_code}): the status of a redirect is one of {known}")


def makes_pages(returns: Any) -> bool:
    """Whether a return annotation includes WebPageResponse or Redirect."""
    return any((get_origin(each) or each) in (WebPageResponse, Redirect) for each in union_members(returns))


def needs_template(returns: Any) -> bool:
    """Whether a page with this return annotation renders a template: not if it only returns redirects and responses."""
    return any(each is not Redirect and not is_response(each) for each in union_members(returns))
