"""The app whose pages the tests open, and its templates."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from fastapi import File, UploadFile
from pydantic import Field, SecretStr
from starlette.responses import PlainTextResponse

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    Context,
    NotFound,
    Redirect,
    ScopeAccessControl,
    SecureHashCacheControl,
    Settings,
    TtlCacheControl,
    WebPageResponse,
    WebPageTrigger,
    action,
    create_app,
)


@dataclass
class Item:
    name: str
    price: float

    @property
    def label(self) -> str:
        return f"{self.name} for {self.price:.2f}"


class Colour(Enum):
    red = "red"
    blue = "blue"


@action(triggers=WebPageTrigger())
def current_time_page() -> datetime:
    return datetime(2030, 1, 2, 3, 4)


@action(triggers=(WebPageTrigger(path="/items/{name}"), WEB_GET))
async def item(name: str, price: float | None = None) -> Item:
    if name == "none":
        raise NotFound("no such item")
    return Item(name, price or 1.5)


@action(triggers=(WebPageTrigger("POST", "/orders"), WEB_POST))
async def order(
    name: Annotated[str, Field(min_length=2)],
    count: Annotated[int, Field(ge=1)] = 1,
    note: str = "none",
    gift: bool = False,
    colour: Colour = Colour.red,
    code: SecretStr | None = None,
) -> dict[str, Any]:
    return {"name": name, "count": count, "note": note, "gift": gift, "colour": colour.value, "code": code is not None}


@action(triggers=(WebPageTrigger("GET", "/order"), WebPageTrigger("POST", "/order-again", "order.j2")))
async def order_form() -> None: ...


@action(triggers=WebPageTrigger("POST"))
async def upload(title: str, picture: Annotated[UploadFile, File()]) -> dict[str, Any]:
    return {"title": title, "bytes": len(await picture.read())}


@action(triggers=(WebPageTrigger(), WEB_GET))
async def moved(to: str = "/current-time-page", status: int = 307) -> Redirect:
    return Redirect(to, status)


@action(triggers=(WebPageTrigger(), WEB_GET))
async def dressed(header: str = "x", template: str | None = None) -> WebPageResponse[Item]:
    return WebPageResponse(Item("tea", 2), 203, {"X-Mine": header}, template)


@action(triggers=WebPageTrigger(), access_control=ScopeAccessControl("root"))
async def inside(authorization: Authorization | None) -> str | None:
    return authorization.subject_id if authorization else None


@action(triggers=WebPageTrigger("POST", template_name="inside.j2"), access_control=ScopeAccessControl("root"))
async def change(context: Context) -> str:
    return context.via


@action(triggers=WebPageTrigger())
async def broken(secret: str = "hunter2") -> None:
    raise RuntimeError("db://user:pw@host")


@action(triggers=WebPageTrigger(template_name="misspelt.j2"))
async def misspelt() -> int:
    return 1


@action(triggers=WebPageTrigger(template_name="item.j2"), cache_control=SecureHashCacheControl())
async def kept() -> Item:
    return Item("kept", 1)


@action(triggers=WebPageTrigger(template_name="item.j2"), cache_control=TtlCacheControl(60))
async def rare() -> Item:
    return Item("rare", 1)


@action(triggers=WebPageTrigger(template_name="stream.j2"))
async def numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield number


@action(triggers=WebPageTrigger(template_name="item.j2"))
async def whole() -> PlainTextResponse:
    return PlainTextResponse("as it is")


ACTIONS = [
    current_time_page, item, order, order_form, upload, moved, dressed, inside, change, broken, misspelt, kept, rare,
    numbers, whole,
]  # fmt: skip

TEMPLATES = {
    "current_time_page.j2": "<h1>The current time is {{ model }}</h1>",
    "item.j2": "<p>{{ model.label }}<script>const item = {{ model | tojson }}</script>"
    '<a href="{{ url_for("current_time_page") }}">time</a> {{ request.url.path }}',
    "order.j2": "{% set shown = model or {} %}<p>{{ shown | tojson }}",
    "order_form.j2": '<form method="post" action="/orders"><input name="name"></form>',
    "upload.j2": "{{ model.title }}: {{ model.bytes }}",
    "moved.j2": "never",
    "dressed.j2": "{{ model.name }}",
    "inside.j2": "{{ model }}, {{ authorization.subject_id }}",
    "broken.j2": "",
    "misspelt.j2": "one\n{{ mdoel }}",
    "stream.j2": "{{ model | join('-') }}",
}


def project(folder: Path, **more: str) -> Path:
    for name, text in {**TEMPLATES, **more}.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def app(folder: Path, *actions: Any, **settings: Any):
    made = Settings(
        **{
            "env": "dev",
            "template_path": str(folder),
            "login_password": "open sesame",
            "jwt_secret_key": "a-secret-of-more-than-32-bytes-for-tests",
            **settings,
        }
    )
    return create_app(actions=actions or ACTIONS, settings=made)
