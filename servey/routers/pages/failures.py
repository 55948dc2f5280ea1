"""Error pages: the error as text, the form with messages for its fields, or the login form."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from servey.core.errors import ActionError, InvalidParams
from servey.core.params import Param
from servey.layout.frame import Frame
from servey.layout.page import escape, shipped_page
from servey.routers.rest.shapes import Shape, leaves


@dataclass(frozen=True)
class Failure:
    """One failed page request.

    Shape: ``raised`` is the exception if it was unexpected, ``given`` the client's input by parameter name, ``login`` the
    path of the login.
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
        """The names of its templates, most specific first: by code, by status."""
        code = self.error.code if re.fullmatch(r"[a-z0-9_]+", self.error.code) else "internal"
        return (f"errors/{code}.j2", f"errors/{self.error.status}.j2")

    @property
    def here(self) -> str:
        """The requested path and query."""
        return self.path + (f"?{self.query}" if self.query else "")

    @cached_property
    def messages(self) -> dict[str, str]:
        """The error message of each field, by its name in the form."""
        found: dict[str, str] = {}
        for item in self.error.detail if isinstance(self.error, InvalidParams) else ():
            parts = [str(part) for part in item["loc"][1:] if isinstance(part, str)]
            found.setdefault(".".join(parts), str(item["msg"]))
        return found

    @cached_property
    def values(self) -> dict[str, str]:
        """The submitted values as text, by field name, without secrets."""
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
        """The variables of an error template."""
        return {
            "error": self.error,
            "errors": self.messages,
            "values": self.values,
            "request_id": self.request_id,
            "login": self.login,
        }


def failure_page(failure: Failure, frame: Frame) -> Response:
    """Return Servey's own page for an error."""
    error = failure.error
    title = "Please check your input" if isinstance(error, InvalidParams) else _phrase(error.status)
    parts = [_heading(error, title)]
    if isinstance(error, InvalidParams):
        parts.append(_form(failure))
    elif error.detail != title:
        parts.append(f'<p class="lead">{escape(str(error.detail))}</p>')
    if error.status == 401 and failure.login is not None and failure.is_dev:
        parts.append(login_form(failure.login, failure.here if failure.method == "GET" else failure.path))
    if failure.raised is not None and failure.is_dev:
        text = "".join(traceback.format_exception(failure.raised))
        parts.append(f'<p>Only shown in development:</p><pre tabindex="0">{escape(text)}</pre>')
    if error.status >= 500:
        parts.append(f'<p class="quiet">Request <code>{escape(failure.request_id)}</code></p>')
    kind = "text" if failure.raised is not None and failure.is_dev else "narrow"
    return shipped_page(frame, title, "\n".join(parts), kind=kind, status=error.status)


def plain_error_page(error: ActionError, frame: Frame) -> Response:
    """Return a page with only the status text."""
    title = _phrase(error.status)
    content = f'{_heading(error, title)}\n<p><a href="{escape(frame.home)}">Go to the start page</a></p>'
    return shipped_page(frame, title, content, kind="narrow", status=error.status)


def _heading(error: ActionError, title: str) -> str:
    code = f'<p class="status-code" data-code="{escape(error.code)}">{error.status}</p>'
    return f"{code}\n<h1>{escape(title)}</h1>"


def login_form(action: str, next_path: str, message: str = "") -> str:
    """Return the login form, which redirects to ``next_path``."""
    alert = f'<p class="notice bad" role="alert">{escape(message)}</p>' if message else ""
    return f"""{alert}<form class="stack" method="post" action="{escape(action)}">
<input type="hidden" name="next" value="{escape(next_path)}">
<label><span>Name</span><input name="username" autocomplete="username" required></label>
<label><span>Password</span><input name="password" type="password" autocomplete="current-password" required></label>
<button class="main">Log in</button>
</form>"""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Error {status}"


def _form(failure: Failure) -> str:
    """Return the form with the submitted values and error messages."""
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
    summary = f"<ul>{others}</ul>" if others else ""
    if failure.method not in ("GET", "POST") or not rows:
        return summary + "".join(rows)
    method = failure.method.lower()
    where = failure.here if method == "post" else failure.path
    fields = "".join(rows)
    send = '<button class="main">Send</button>'
    return f'{summary}<form class="stack" method="{method}" action="{escape(where)}"{upload}>{fields}{send}</form>'


def _field(name: str, control: str, message: str | None) -> str:
    label = name.replace(".", " / ").replace("_", " ").capitalize()
    alert = f' <span class="error" role="alert">{escape(message)}</span>' if message is not None else ""
    invalid = "" if message is None else " data-invalid"
    return f'<label data-field="{escape(name)}"{invalid}><span>{escape(label)}</span>{control}{alert}</label>\n'


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
