"""The part of a compiled route that reads and validates its input."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from servey.calls.validation_errors import holds_many
from servey.compat import pydantic as compat
from servey.core.actions import Action
from servey.http.bodies import whole_body
from servey.http.handlers import PARSED_BODY
from servey.routers.rest.decode import check_json_type, request_and_form
from servey.routers.rest.fallback import RouteSpec, invalid
from servey.routers.rest.query import nest, parse_query, unquote

_MAX_JSON_BYTES = 2048  # of larger JSON, pydantic would copy the whole object into each error of a missing field


class InputWriter:
    """Collects the code of one route, and the names that it uses."""

    def __init__(self, spec: RouteSpec) -> None:
        self.spec = spec
        self.action: Action = spec.plan.action
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "spec": spec,
            "action": self.action,
            "runtime": spec.runtime,
            "in_flight": spec.runtime.in_flight,
            "fn": self.action.fn,
        }

    def _emit(self, *lines: str) -> None:
        self.lines += lines

    def _bind(self, **names: Any) -> None:
        self.names |= names

    def _emit_decoding(self, *, validates_bytes: bool) -> None:
        spec = self.spec
        if spec.reads_body:
            self._bind(whole_body=whole_body, limit=spec.limit_bytes, seconds=spec.runtime.settings.body_timeout)
            self._emit(
                "    length = headers.get(b'content-length')",
                "    if length is not None: length = length.decode('latin-1')",
                "    raw = await whole_body(receive, length=length, limit_bytes=limit, timeout=seconds)",
            )
        self._emit("    try:")
        if spec.takes_form:
            self._emit_form()
        elif spec.reads_body:
            self._emit_body(validates_bytes=validates_bytes)
        self._emit_query()
        self._emit_path()
        if not (spec.reads_body or spec.places.query or spec.path_names):
            self._emit("      given = {}")

    def _emit_validation(self) -> None:
        extra = ", extra='forbid'" if self.spec.strict else ""
        validate = self.action.params.validator.validate_python
        self._bind(validate=validate, ValidationError=ValidationError, invalid=invalid)
        self._emit(
            f"      try: values = validate(given, from_attributes=True{extra})",
            "      except ValidationError as error: raise invalid(spec, error) from None",
        )

    @property
    def _validates_bytes(self) -> bool:
        """Whether the body is the only input and pydantic can validate its bytes directly."""
        spec = self.spec
        only_body = spec.reads_body and not (spec.takes_form or spec.places.query or spec.path_names or spec.strict)
        return only_body and compat.same_in_json(self.action.params.core_schema)

    def _emit_body(self, *, validates_bytes: bool) -> None:
        self._bind(check_json_type=check_json_type, from_json=from_json, holds_many=holds_many)
        self._emit(
            "      if raw and (kind := headers.get(b'content-type')) != b'application/json':",
            "        check_json_type(kind and kind.decode('latin-1'))",
        )
        if validates_bytes:
            self._bind(validator=self.action.params.validator)
            self._emit(
                # Searching for one byte is faster than for a word, and most bodies contain neither letter.
                "      if not raw or b'N' in raw and b'NaN' in raw or b'I' in raw and b'Infinity' in raw: raise ValueError",
                f"      if len(raw) <= {_MAX_JSON_BYTES}: values = validator.validate_json(raw)",
                "      elif holds_many(given := from_json(raw, allow_inf_nan=False)): raise ValueError",
                "      else: values = validator.validate_python(given)",
            )
            return
        self._emit(
            "      given = from_json(raw, allow_inf_nan=False) if raw else {}",
            f"      if type(given) is not dict or len(raw) > {_MAX_JSON_BYTES} and holds_many(given): raise ValueError",
        )
        self._emit_own_fields()

    def _emit_form(self) -> None:
        self._bind(
            request_and_form=request_and_form, PARSED_BODY=PARSED_BODY, nest=nest, body_shapes=self.spec.body_shapes
        )
        self._emit(
            "      request, form = await request_and_form(scope, receive, raw, headers.get(b'content-type'))",
            "      scope[PARSED_BODY] = form",
            "      given = nest(form.multi_items(), body_shapes)",
        )
        self._emit_own_fields()

    def _emit_own_fields(self) -> None:
        if self.spec.strict:
            self._bind(known_in_body=self.spec.known_in_body)
            self._emit("      if not known_in_body.issuperset(given): raise ValueError")
        self._bind(in_body=self.spec.places.body)
        self._emit("      given = {name: value for name, value in given.items() if name in in_body}")

    def _emit_query(self) -> None:
        spec = self.spec
        if not spec.places.query:
            if spec.strict:
                self._emit("      if scope['query_string']: raise ValueError")
            return
        self._bind(unquote=unquote, parse_query=parse_query, nest=nest, shapes=spec.query_shapes)
        self._emit("      query_params = {}")
        self._emit("      query = scope['query_string']")
        if any(shape.fields for shape in spec.query_shapes.values()):
            self._emit("      if query: query_params = nest(parse_query(query), shapes)")
        else:
            self._emit_flat_query(frozenset(name for name, shape in spec.query_shapes.items() if shape.is_list))
        if spec.strict:
            self._bind(known_in_query=spec.known_in_query)
            self._emit("      if not known_in_query.issuperset(query_params): raise ValueError")
        if spec.reads_body:
            self._bind(in_query=spec.places.query)
            self._emit("      given |= {name: value for name, value in query_params.items() if name in in_query}")
        else:
            # The validator ignores unknown keys; path parameters overwrite the query.
            self._emit("      given = query_params")

    def _emit_flat_query(self, lists: frozenset[str]) -> None:
        self._emit(
            "      if query:",
            "        text = query.decode()",
            "        if '\\0' in text: raise ValueError",
            "        for part in text.split('&'):",
            "          name, _, value = part.partition('=')",
            "          if '%' in part or '+' in part: name = unquote(name); value = unquote(value)",
        )
        if lists:
            self._bind(lists=lists)
            self._emit(
                "          if name in lists: query_params.setdefault(name, []).append(value)",
                "          else: query_params[name] = value",
            )
        else:
            self._emit("          query_params[name] = value")

    def _emit_path(self) -> None:
        spec = self.spec
        if not spec.path_names:
            return
        if not (spec.reads_body or spec.places.query):
            self._emit("      given = {}")
        self._emit("      if '\\0' in scope['path'] or '\\ufffd' in scope['path']: raise ValueError")
        for index, name in enumerate(spec.path_names):
            self._emit(f"      given[{name!r}] = path[{index}]")
