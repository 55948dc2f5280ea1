"""What a visitor of a page sees when something is wrong: the error in words, a form with its fields' messages, the login."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from servey.errors import ActionError, InvalidParams
from servey.params import Param
from servey.routers.query import Shape, leaves
from servey.routers.shipped import escape, shipped_page


@dataclass(frozen=True)
class Failure:
    """One failed visit of a page.

    ``raised`` is the exception where no one expected it, ``given`` what the visitor has sent by parameter, ``login`` the
    place where a token is to be had.
    """

    error: ActionError
    raised: Exception | None
    request_id: str
    given: Mapping[str, Any]
    fields: Mapping[str, Shape]
    injected: tuple[Param, ...]
    method: str
    path: str
    query: str
    login: str | None
    is_dev: bool

    @property
    def template_names(self) -> tuple[str, ...]:
        """The templates that may stand for it, the closest first: by its code, by its status."""
        code = self.error.code if re.fullmatch(r"[a-z0-9_]+", self.error.code) else "internal"
        return (f"errors/{code}.j2", f"errors/{self.error.status}.j2")

    @property
    def here(self) -> str:
        """The address that was visited, without its host."""
        return self.path + (f"?{self.query}" if self.query else "")

    @cached_property
    def messages(self) -> dict[str, str]:
        """What is wrong with each field, by its name in the form."""
        found: dict[str, str] = {}
        for item in self.error.detail if isinstance(self.error, InvalidParams) else ():
            parts = [str(part) for part in item["loc"][1:] if isinstance(part, str)]
            found.setdefault(".".join(parts), str(item["msg"]))
        return found

    @cached_property
    def values(self) -> dict[str, str]:
        """What the visitor has given as text, by the field's name; secrets are left out."""
        found: dict[str, str] = {}
        for name, shape, _ in leaves(self.fields):
            value: Any = self.given
            for part in name.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            if isinstance(value, list):
                value = ", ".join(str(each) for each in value if isinstance(each, str | int | float))
            if isinstance(value, str | int | float) and not shape.is_secret:
                found[name] = str(value)
        return found

    def variables(self) -> dict[str, Any]:
        """What a template of it is given."""
        return {
            "error": self.error,
            "errors": self.messages,
            "values": self.values,
            "request_id": self.request_id,
            "login": self.login,
        }


def failure_page(failure: Failure) -> Response:
    """The page that stands for an error where the project has none of its own."""
    error = failure.error
    title = "Please check what you have entered" if isinstance(error, InvalidParams) else _phrase(error.status)
    parts = [f'<main data-code="{escape(error.code)}">', f"<h1>{escape(title)}</h1>"]
    if isinstance(error, InvalidParams):
        parts.append(_form(failure))
    elif error.detail != title:
        parts.append(f"<p>{escape(str(error.detail))}</p>")
    if error.status == 401 and failure.login is not None and failure.is_dev:
        parts.append(login_form(failure.login, failure.here if failure.method == "GET" else failure.path))
    if failure.raised is not None and failure.is_dev:
        text = "".join(traceback.format_exception(failure.raised))
        parts.append(f"<p>Only shown in development:</p><pre>{escape(text)}</pre>")
    if error.status >= 500:
        parts.append(f'<p class="quiet">Request <code>{escape(failure.request_id)}</code></p>')
    return shipped_page(title, "\n".join([*parts, "</main>"]), error.status)


def plain_error_page(error: ActionError) -> Response:
    """The page of an error that no page has made: nothing is there."""
    title = _phrase(error.status)
    return shipped_page(title, f'<main data-code="{escape(error.code)}"><h1>{escape(title)}</h1></main>', error.status)


def login_form(action: str, next_path: str, message: str = "") -> str:
    """A form that asks for a name and a password, and then leads on."""
    told = f'<p class="error" role="alert">{escape(message)}</p>' if message else ""
    return f"""{told}<form method="post" action="{escape(action)}">
<input type="hidden" name="next" value="{escape(next_path)}">
<label><span>Name</span><input name="username" autocomplete="username" required></label>
<label><span>Password</span><input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button>
</form>"""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Error {status}"


def _form(failure: Failure) -> str:
    """The form once more, with what was given and what is wrong with it."""
    messages = dict(failure.messages)
    rows: list[str] = []
    for name, shape, _ in leaves(failure.fields):
        rows.append(_field(name, _control(name, shape, failure.values.get(name, "")), messages.pop(name, None)))
    for param in failure.injected:
        kind = "file" if "UploadFile" in str(param.info.annotation) else "text"
        control = f'<input name="{escape(param.alias)}" type="{kind}">'
        rows.append(_field(param.alias, control, messages.pop(param.alias, None)))
    others = "".join(
        f'<li class="error">{escape(f"{name}: " if name else "")}{escape(text)}</li>' for name, text in messages.items()
    )
    upload = ' enctype="multipart/form-data"' if failure.injected else ""
    told = f"<ul>{others}</ul>" if others else ""
    if failure.method not in ("GET", "POST") or not rows:
        return told + "".join(rows)
    method = failure.method.lower()
    where = failure.here if method == "post" else failure.path
    return f'{told}<form method="{method}" action="{escape(where)}"{upload}>{"".join(rows)}<button>Send</button></form>'


def _field(name: str, control: str, message: str | None) -> str:
    label = name.replace(".", " / ").replace("_", " ").capitalize()
    told = f' <span class="error" role="alert">{escape(message)}</span>' if message is not None else ""
    return f'<label data-field="{escape(name)}"><span>{escape(label)}</span>{control}{told}</label>\n'


def _control(name: str, shape: Shape, value: str) -> str:
    named = f'name="{escape(name)}"'
    schema = shape.described()
    options = schema.get("enum")
    if options:
        chosen = "".join(
            f"<option{' selected' if str(each) == value else ''}>{escape(str(each))}</option>" for each in options
        )
        return f"<select {named}>{chosen}</select>"
    if schema.get("type") == "boolean":
        checked = " checked" if value.lower() in ("true", "1", "on", "yes") else ""
        return f'<input {named} type="checkbox" value="true"{checked}>'
    kind = "password" if shape.is_secret else "text"
    return f'<input {named} type="{kind}" value="{escape(value)}">'
