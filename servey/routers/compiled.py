"""Routes of actions, compiled: straight-line code for one request, written when a route is first hit.

`ActionRoute` says what a request means; this does the same steps in the same order, with everything decided before that
can be. A request in which anything is odd is replayed through the route's generic form, before a user's code has run. What
is not compiled at all, and why, is `why_generic`'s to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.responses import Response

from servey import invoke
from servey.access import ScopeAccessControl
from servey.bodies import whole_body
from servey.compat import pydantic as compat
from servey.context import Context, _current
from servey.encode import encoder_of
from servey.errors import ActionError, InvalidParams
from servey.ids import new_request_id
from servey.routers.decode import check_json_type
from servey.routers.forms import ODD_HEADERS, Begun, Facts, Serve, again, failed, invalid, why_generic
from servey.routers.query import checked_text, nest, parse_query
from servey.web import (
    JSON,
    Answer,
    bearer_of,
    request_id_of,
)


def compile_route(facts: Facts) -> Serve | None:
    """One callable for a route's requests; None where they need the generic form."""
    if why_generic(facts) is not None:
        return None
    lines, names = _Writer(facts).write()
    exec(compile("\n".join(lines), f"<compiled action {facts.plan.action.name}>", "exec"), names)
    serve: Serve = names["serve"]
    return serve


class _Writer:
    """Writes the code of one route: a few lines for each step that this route needs, none for the others."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.action = facts.plan.action
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "facts": facts,
            "action": self.action,
            "runtime": facts.runtime,
            "in_flight": facts.runtime.in_flight,
            "fn": self.action.fn,
        }

    def write(self) -> tuple[list[str], dict[str, Any]]:
        self._use(
            again=again,
            failed=failed,
            Context=Context,
            current=_current,
            running_loop=asyncio.get_running_loop,
            ODD=(ValueError, ActionError),
            CancelledError=asyncio.CancelledError,
            new_request_id=new_request_id,
            request_id_of=request_id_of,
            bearer_of=bearer_of,
        )
        odd_headers = " or ".join(f"{name!r} in headers" for name in sorted(ODD_HEADERS))
        self._say(
            "async def serve(scope, receive, send, path, generic, request_id=None):",
            "  headers = dict(scope['headers'])",
            "  if in_flight.count >= in_flight.limit or len(headers) != len(scope['headers']) or " + odd_headers + ":",
            "    return await again(scope, receive, send, generic)",
            "  if request_id is None:",
            "    request_id = request_id_of(scope) if b'x-request-id' in headers else new_request_id()",
            "  answer = context = raw = None",
            "  in_flight.count += 1",
            "  try:",
        )
        plan = self.facts.plan
        admits = plan.early is not None or plan.late is not None or bool(plan.authorization) or bool(plan.contexts)
        if admits:
            self._say_context("    ")
            self._say_admission()
        straight = self._is_straight_json
        self._say_decoding(straight=straight)
        # Nothing of a user's has run before, but for the access rule: the generic form may begin anew.
        self._say("    except ODD: pass", "    else:")
        if not straight:
            self._say_validation()
        if not admits:
            self._say_context("      ")
        self._say_late()
        self._say_call()
        self._say_answer()
        self._say(
            "      return",
            "  except (Exception, CancelledError) as error:",
            "    return await failed(facts, error, scope, receive, send, generic, request_id, context, answer)",
            "  finally: in_flight.count -= 1",
            "  await again(scope, receive, send, generic, context, request_id, raw)",
        )
        return self.lines, self.names

    def _say(self, *lines: str) -> None:
        self.lines += lines

    def _use(self, **names: Any) -> None:
        self.names |= names

    def _say_context(self, indent: str) -> None:
        self._say(
            f"{indent}token = bearer_of(headers[b'authorization']) if b'authorization' in headers else None",
            f"{indent}context = Context(runtime, 'rest', request_id, token)",
        )

    def _say_admission(self) -> None:
        plan = self.facts.plan
        self._use(admit=invoke.admit, plan=plan)
        known = getattr(self.facts.runtime.authorizer, "remembered", None)
        if known is None or (plan.early is not None and not isinstance(plan.early, ScopeAccessControl)):
            self._say("    await admit(plan, context)")
            return
        # A token that was verified before, and a rule that says yes at once: there is nothing to wait for.
        rule = " or not early(context.authorization)" if plan.early is not None else ""
        self._use(known=known, early=plan.early)
        self._say(f"    if token is None or not context.accept(known(token)){rule}: await admit(plan, context)")

    # ------------------------------------------------------------------------------------------------ decoding

    def _say_decoding(self, *, straight: bool) -> None:
        facts = self.facts
        if facts.reads_body:
            self._use(whole_body=whole_body, limit=facts.limit_bytes, seconds=facts.runtime.settings.body_timeout)
            self._say(
                "    length = headers.get(b'content-length')",
                "    if length is not None: length = length.decode('latin-1')",
                "    raw = await whole_body(receive, length=length, limit_bytes=limit, timeout=seconds)",
            )
        self._say("    try:")
        if facts.reads_body:
            self._say_body(straight=straight)
        self._say_query()
        self._say_path()
        if not (facts.reads_body or facts.places.query or facts.path_names):
            self._say("      given = {}")

    def _say_validation(self) -> None:
        extra = ", extra='forbid'" if self.facts.strict else ""
        validate = self.action.params.validator.validate_python
        self._use(validate=validate, ValidationError=ValidationError, invalid=invalid)
        self._say(
            f"      try: values = validate(given{extra})",
            "      except ValidationError as error: raise invalid(facts, error) from None",
        )

    @property
    def _is_straight_json(self) -> bool:
        """Whether the body is all that there is, and means the same to pydantic as bytes and as values."""
        facts = self.facts
        only_body = facts.reads_body and not (facts.places.query or facts.path_names or facts.strict)
        return only_body and compat.same_in_json(self.action.params.core_schema)

    def _say_body(self, *, straight: bool) -> None:
        self._use(check_json_type=check_json_type)
        self._say(
            "      if raw and (kind := headers.get(b'content-type')) != b'application/json':",
            "        check_json_type(kind and kind.decode('latin-1'))",
        )
        if straight:
            self._use(validate=self.action.params.validator.validate_json)
            self._say(
                # One byte is found faster than many; most bodies have neither of these two.
                "      if not raw or b'N' in raw and b'NaN' in raw or b'I' in raw and b'Infinity' in raw: raise ValueError",
                "      values = validate(raw)",
            )
            return
        self._use(from_json=from_json)
        self._say(
            "      given = from_json(raw, allow_inf_nan=False) if raw else {}",
            "      if type(given) is not dict: raise ValueError",
        )
        if self.facts.strict:
            self._use(known_in_body=self.facts.known_in_body)
            self._say("      if not known_in_body.issuperset(given): raise ValueError")
        self._use(in_body=self.facts.places.body)
        self._say("      given = {name: value for name, value in given.items() if name in in_body}")

    def _say_query(self) -> None:
        facts = self.facts
        if not facts.places.query:
            if facts.strict:
                self._say("      if scope['query_string']: raise ValueError")
            return
        self._use(unquoted=_unquoted, parse_query=parse_query, nest=nest, shapes=facts.query_shapes)
        self._say("      asked = {}")
        self._say("      query = scope['query_string']")
        if any(shape.fields for shape in facts.query_shapes.values()):
            self._say("      if query: asked = nest(parse_query(query), shapes)")
        else:
            self._say_flat_query(frozenset(name for name, shape in facts.query_shapes.items() if shape.is_list))
        if facts.strict:
            self._use(known_in_query=facts.known_in_query)
            self._say("      if not known_in_query.issuperset(asked): raise ValueError")
        if facts.reads_body:
            self._use(in_query=facts.places.query)
            self._say("      given |= {name: value for name, value in asked.items() if name in in_query}")
        else:
            # What else is in it is ignored by the validator; path parameters are written over it.
            self._say("      given = asked")

    def _say_flat_query(self, lists: frozenset[str]) -> None:
        self._say(
            "      if query:",
            "        text = query.decode()",
            "        if '\\0' in text: raise ValueError",
            "        for part in text.split('&'):",
            "          name, _, value = part.partition('=')",
            "          if '%' in part or '+' in part: name = unquoted(name); value = unquoted(value)",
        )
        if lists:
            self._use(lists=lists)
            self._say(
                "          if name in lists: asked.setdefault(name, []).append(value)",
                "          else: asked[name] = value",
            )
        else:
            self._say("          asked[name] = value")

    def _say_path(self) -> None:
        facts = self.facts
        if not facts.path_names:
            return
        if not (facts.reads_body or facts.places.query):
            self._say("      given = {}")
        self._say("      if '\\0' in scope['path'] or '\\ufffd' in scope['path']: raise ValueError")
        for index, name in enumerate(facts.path_names):
            self._say(f"      given[{name!r}] = path[{index}]")

    # ---------------------------------------------------------------------------------------------- the call

    def _say_late(self) -> None:
        plan = self.facts.plan
        if plan.late is not None:
            self._use(admit_with=invoke.admit_with, late=plan.late, InvalidParams=InvalidParams)
            self._say(
                "      try: await admit_with(late, values, context)",
                "      except InvalidParams as error: raise facts.located(error) from None",
            )
        for name in (name for name, _ in plan.authorization):
            self._say(f"      values[{name!r}] = context.authorization")
        for name in plan.contexts:
            self._say(f"      values[{name!r}] = context")

    def _say_call(self) -> None:
        action = self.action
        self._use(timeout=action.timeout)
        self._say(
            "      context.deadline = running_loop().time() + timeout",
            "      running = current.set(context)",
            "      try:",
        )
        if action.is_async:
            # Its first step runs before a timer is armed: a function that does not wait needs none.
            self._use(go_on=invoke.go_on)
            self._say(
                "        step = fn(**values)",
                "        try: waits_for = step.send(None)",
                "        except StopIteration as done: result = done.value",
                "        else: result = await go_on(step, waits_for, action, context)",
            )
        else:
            self._use(go_in_thread=invoke.go_in_thread, go_with=invoke.go_with, Coroutine=Coroutine)
            call = "await go_in_thread(values, action, context)" if action.blocking else "fn(**values)"
            self._say(
                f"        result = {call}",
                "        if isinstance(result, Coroutine): result = await go_with(result, action, context)",
            )
        self._say("      finally: current.reset(running)")

    def _say_answer(self) -> None:
        adapter = self.action.result
        encode = encoder_of(adapter) if adapter is not None else None
        to_json = adapter.serializer.to_json if adapter is not None else _nothing
        self._use(
            Answer=Answer,
            BEGUN=Begun(),
            JSON_TYPE=(b"content-type", JSON.encode()),
            Response=Response,
            checked=invoke.checked,
            encode=encode,
            to_json=to_json,
        )
        self._say(
            "      body = encode(result)" if encode is not None else "      body = None",
            "      if body is None:",
            "        result = checked(action, result)",
            "        if isinstance(result, Response):",
            "          answer = Answer(scope, send, request_id)",
            "          await result(scope, receive, answer.send)",
            "          if context._resources is not None: await context.resources.close(None)",
            "          return",
            "        body = to_json(result, by_alias=True, warnings=False)",
            "      answer = BEGUN",
            "      await send({'type': 'http.response.start', 'status': 200, 'headers': [",
            "        (b'content-length', b'%d' % len(body)), JSON_TYPE, (b'x-request-id', request_id.encode('latin-1'))]})",
            "      await send({'type': 'http.response.body', 'body': body})",
            "      if context._resources is not None: await context.resources.close(None)",
        )


def _nothing(result: Any, **options: Any) -> bytes:
    return b""


def _unquoted(text: str) -> str:
    return checked_text(unquote_to_bytes(text.replace("+", " ")), "query")
