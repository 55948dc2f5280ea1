"""What an action of a page may give back instead of its model: the model with a status and headers, or another address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args, get_origin

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from servey.errors import ConfigError
from servey.params import union_members

T = TypeVar("T")

REDIRECTS = (301, 302, 303, 307, 308)


class WebPageResponse(Generic[T]):
    """A page's model, with the status, the headers and the template of this one answer.

    Everywhere else but on a page its result is the model alone; ``WebPageResponse[Item]`` says what that is.
    """

    # No dataclass: pydantic would read its fields, and not ask it what it stands for.
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
    """Another address, which the browser goes on to: one of this app's own, or of an origin that the settings allow.

    Everywhere else but on a page its result is the object with these two.
    Source: RFC 9110 section 15.4; 303 is what a form that was taken answers.
    Errors: ConfigError for a status that is no redirect.
    """

    url: str
    status_code: int = 307

    def __post_init__(self) -> None:
        if self.status_code not in REDIRECTS:
            known = ", ".join(map(str, REDIRECTS))
            raise ConfigError(f"Redirect({self.url!r}, {self.status_code}): the status of a redirect is one of {known}")


def makes_pages(returns: Any) -> bool:
    """Whether a result may be one of the two."""
    return any((get_origin(each) or each) in (WebPageResponse, Redirect) for each in union_members(returns))
