"""Compiles an action's route to straight-line code when the route first receives a request.

The compiled code takes the same steps as `ActionRoute`, in the same order, with all decisions made in advance. Any unusual
request is replayed through the generic form before user code runs. `why_generic` lists the routes that are not compiled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.responses import Response

from servey.auth.tokens import cached_authorization
from servey.calls import deadline, invoke
from servey.calls.ids import new_request_id
from servey.calls.injection import filled_in
from servey.calls.outcomes import checked
from servey.calls.resources import Resources
from servey.calls.slices import MANY_ITEMS, json_in_slices
from servey.core.access import Authorization, ScopeAccessControl, allows_by_scope
from servey.core.context import Context, _current
from servey.core.errors import ActionError, InvalidParams
from servey.http.encode import encoder_of
from servey.http.web import JSON, Answer, bearer_token, has_body, replay, request_id_of
from servey.routers.rest.compiled_input import InputWriter
from servey.routers.rest.deferred import needs_generic_form
from servey.routers.rest.fallback import (
    ResponseStarted,
    RouteSpec,
    Serve,
    failed,
    fall_back_to_generic,
    why_generic,
)
from servey.routers.rest.kept import kept_answers
from servey.routers.rest.rendered import cache_headers, rendered, with_cache_headers


def source_of(spec: RouteSpec) -> str:
    """Return the code that serves the route, for people who debug it."""
    return "\n".join(_Writer(spec).write()[0]) + "\n"


def compile_route(spec: RouteSpec) -> Serve | None:
    """Return a callable that serves the route, or None if the route needs the generic form."""
    if why_generic(spec) is not None:
        return None
    lines, names = _Writer(spec).write()
    exec(compile("\n".join(lines), f"<compiled action {spec.plan.action.name}>", "exec"), names)
    serve: Serve = names["serve"]
    return serve


class _Writer(InputWriter):
    """Generates the code of one route; steps that the route does not need produce no code."""

    def write(self) -> tuple[list[str], dict[str, Any]]:
        self._bind(
            fall_back_to_generic=fall_back_to_generic,
            failed=failed,
            Context=Context,
            current=_current,
            running_loop=asyncio.get_running_loop,
            GENERIC_ERRORS=(ValueError, ActionError),
            CancelledError=asyncio.CancelledError,
            new_request_id=new_request_id,
            request_id_of=request_id_of,
            bearer_token=bearer_token,
            needs_generic_form=needs_generic_form,
        )
        self._bind_serialization()
        self._emit(
            "async def serve(scope, receive, send, path, generic, request_id=None):",
            "  headers = dict(scope['headers'])",
            "  if in_flight.count >= in_flight.limit or len(headers) != len(scope['headers']) or (",
            "    b'prefer' in headers and"
            f" needs_generic_form(headers[b'prefer'], may_be_later={self.spec.may_be_later})):",
            "    return await fall_back_to_generic(scope, receive, send, generic)",
            "  if request_id is None:",
            "    request_id = request_id_of(scope) if b'x-request-id' in headers else new_request_id()",
            f"  answer = context = raw = {'form = ' if self.spec.takes_form else ''}None",
            "  in_flight.count += 1",
            "  try:",
        )
        plan = self.spec.plan
        if plan.authorizes:
            self._emit_context("    ")
            self._emit_authorization()
        self._emit_kept_answer()
        validates_bytes = self._validates_bytes
        self._emit_decoding(validates_bytes=validates_bytes)
        # Only the access rule has run so far, so the generic form can start again.
        self._emit("    except GENERIC_ERRORS: pass", "    else:")
        if not validates_bytes:
            self._emit_validation()
        if not plan.authorizes:
            self._emit_context("      ")
        self._emit_access_check_with_params()
        self._emit_call()
        self._emit_response()
        self._emit(
            "      return",
            "  except (Exception, CancelledError) as error:",
            "    return await failed(spec, error, scope, receive, send, generic, request_id, context, answer, raw)",
            "  finally:",
            "    in_flight.count -= 1",
            *(["    if form is not None: await form.close()"] if self.spec.takes_form else []),
            "  await fall_back_to_generic(scope, receive, send, generic, context, request_id, raw)",
        )
        return self.lines, self.names

    def _emit_context(self, indent: str) -> None:
        self._emit(
            f"{indent}token = bearer_token(scope, runtime.settings) if b'authorization' in headers else None",
            f"{indent}context = Context(runtime, 'rest', request_id, token)",
        )

    def _emit_authorization(self) -> None:
        plan = self.spec.plan
        self._bind(authorize=invoke.authorize, plan=plan)
        rule = plan.check_before_params
        if rule is not None and type(rule) is not ScopeAccessControl:
            self._emit("    await authorize(plan, context)")
            return
        # A token from the cache and a synchronous rule need no await.
        allowed = " or not allows_by_scope(rule, context.authorization)" if rule is not None else ""
        self._bind(cached_authorization=cached_authorization, allows_by_scope=allows_by_scope, rule=rule)
        self._emit(
            "    if token is None or not context.accept(cached_authorization(runtime.authorizer, token))"
            f"{allowed}: await authorize(plan, context)"
        )

    def _emit_kept_answer(self) -> None:
        """Answers with the bytes of a cached result, if this request got it before and it is still valid."""
        kept = self.names["kept"] = kept_answers(self.spec)
        if kept is None:
            return
        caller = "None"
        if kept.by_caller:
            caller = "token"
            if not self.spec.plan.authorizes:
                self._emit("    token = bearer_token(scope, runtime.settings) if b'authorization' in headers else None")
        self._emit(
            f"    kept_as = (kept, scope['query_string'], {caller}, *path)",
            "    found = await kept.find(kept_as, headers)",
            "    if found is not None:",
        )
        self._emit_found("      ")
        self._emit("      return")

    def _emit_found(self, indent: str) -> None:
        self._bind(STARTED=ResponseStarted())
        self._emit(
            f"{indent}answer = STARTED",
            f"{indent}status, fields, body = found",
            f"{indent}await send({{'type': 'http.response.start', 'status': status, 'headers': [",
            f"{indent}  *fields, (b'x-request-id', request_id.encode('latin-1'))]}})",
            f"{indent}await send({{'type': 'http.response.body', 'body': {self._sent_body}}})",
        )

    @property
    def _sent_body(self) -> str:
        """The code of the body that is sent: a HEAD request gets the headers of the GET route only."""
        return "b'' if scope['method'] == 'HEAD' else body" if self.spec.method in ("GET", "HEAD") else "body"

    # ---------------------------------------------------------------------------------------------- the call

    def _emit_access_check_with_params(self) -> None:
        plan = self.spec.plan
        if plan.check_with_params is not None:
            self._bind(
                authorize_with_params=invoke.authorize_with_params,
                check_with_params=plan.check_with_params,
                InvalidParams=InvalidParams,
            )
            self._emit(
                "      try: await authorize_with_params(check_with_params, values, context)",
                "      except InvalidParams as error: raise spec.located(error) from None",
            )
        for index, (name, wanted) in enumerate(plan.authorization):
            if Authorization in wanted.classes:
                self._emit(f"      values[{name!r}] = context.authorization")
            else:
                self._bind(filled_in=filled_in, **{f"wanted_{index}": wanted})
                self._emit(f"      values[{name!r}] = filled_in(wanted_{index}, context)")
        for name in plan.contexts:
            self._emit(f"      values[{name!r}] = context")

    def _emit_call(self) -> None:
        action = self.action
        if self.spec.plan.cache_policy is not None:
            self._bind(perform=invoke.perform, plan=self.spec.plan)
            self._emit_resources("      ")
            self._emit("      result = await perform(plan, values, context)")
            return
        self._bind(timeout=action.timeout)
        self._emit(
            "      context.deadline = running_loop().time() + timeout",
            "      running = current.set(context)",
            "      try:",
        )
        if self.spec.plan.injection is not None:
            self._emit_injected_call()
        elif action.is_async:
            # The first step runs without a timer: a function that never awaits does not need one.
            self._bind(resume_with_deadline=deadline.resume_with_deadline)
            self._emit(
                "        step = fn(**values)",
                "        try: waits_for = step.send(None)",
                "        except StopIteration as done: result = done.value",
                "        else: result = await resume_with_deadline(step, waits_for, action, context)",
            )
        else:
            self._bind(
                run_in_thread_with_deadline=invoke.run_in_thread_with_deadline,
                await_with_deadline=deadline.await_with_deadline,
            )
            call = "await run_in_thread_with_deadline(values, action, context)" if action.blocking else "fn(**values)"
            self._emit(
                f"        result = {call}",
                "        if isinstance(result, Coroutine): result = await await_with_deadline(result, action, context)",
            )
        self._emit("      finally: current.reset(running)")

    def _emit_injected_call(self) -> None:
        """Opens the dependencies, calls the function and serializes its result before they close, as FastAPI does."""
        action, spec = self.action, self.spec
        self._bind(call_injected=invoke.call_injected, plan=spec.plan)
        if not action.is_async:
            self._bind(in_thread=invoke.in_thread)
        called = "await fn(**values, **injected)"
        if not action.is_async:
            called = "await in_thread(action, {**values, **injected}, context)" if action.blocking else called[6:]
        indent = "        "
        self._emit_resources(indent)
        self._emit(f"{indent}async def call(injected):", f"{indent}  result = {called}")
        if not action.is_async:
            self._emit(f"{indent}  if isinstance(result, Coroutine): result = await result")
        self._emit_serialization(f"{indent}  ")
        self._emit(
            f"{indent}  return result, body",
            f"{indent}result, body = await call_injected(plan, call, context)",
        )

    def _emit_resources(self, indent: str) -> None:
        """Creates the resources that the dependencies of the call are opened with."""
        spec = self.spec
        if spec.plan.injection is None:
            return
        self._bind(Resources=Resources, provider=spec.provider, replay=replay)
        if spec.takes_form:
            self._emit(
                f"{indent}resources = context.resources = Resources(app=provider, request=request)",
                f"{indent}resources.close_form(form.close)",
                f"{indent}resources.body, form = form, None",
            )
        else:
            self._emit(
                f"{indent}resources = context.resources = Resources(",
                f"{indent}  app=provider, scope=scope, receive=receive if raw is None else replay(raw, receive))",
            )
        self._emit(
            f"{indent}resources.headers = headers  # each name comes once",
        )

    def _emit_serialization(self, indent: str) -> None:
        """Sets ``body`` to the JSON of ``result``, or to None if the result is itself a response."""
        if self.action.result is not None and self.action.splits_result:
            self._bind(json_in_slices=json_in_slices)
            self._emit(
                f"{indent}if type(result) is list and len(result) > {MANY_ITEMS}:",
                f"{indent}  body = await json_in_slices(action, result, encode)",
                f"{indent}else:",
            )
            indent += "  "
        self._emit(
            f"{indent}body = encode(result)" if self.names["encode"] is not None else f"{indent}body = None",
            f"{indent}if body is None:",
            f"{indent}  result = checked(action, result)",
            f"{indent}  if not isinstance(result, Response): body = to_json(result, by_alias=True, warnings=False)",
        )

    def _bind_serialization(self) -> None:
        adapter = self.action.result
        self._bind(
            Response=Response,
            checked=checked,
            encode=encoder_of(adapter) if adapter is not None else None,
            to_json=adapter.serializer.to_json if adapter is not None else _nothing,
            Coroutine=Coroutine,
        )

    def _emit_response(self) -> None:
        injects = self.spec.plan.injection is not None
        if not injects or self.spec.plan.cache_policy is not None:
            self._emit_serialization("      ")
        if self.spec.plan.cache_policy is None:
            self._emit(
                "      if context._held is not None: await context.succeed()",
                "      else: context._held = ()",
            )
        status = self.spec.status
        needs_response = "body is None or resources.response is not None" if injects else "body is None"
        if not has_body(status):
            needs_response = "True"
        response = f"rendered(result, body, {'resources.response' if injects else 'None'}, {status})"
        control = self.action.cache_control
        if control is not None:
            response = f"with_cache_headers(spec.plan, {response}, result, scope, spec.runtime, context.made_at)"
        self._bind(Answer=Answer, STARTED=ResponseStarted(), JSON_TYPE=(b"content-type", JSON.encode()))
        self._bind(rendered=rendered, with_cache_headers=with_cache_headers)
        if self.names["kept"] is not None:
            self._emit("      if context.cached is not None: kept.keep(kept_as, context, body)")
        headers = cache_headers(self.spec.plan, self.spec.method, status, self.spec.runtime.clock)
        if control is not None and headers is None:
            needs_response = "True"
        elif control is not None:
            self._bind(cache_headers=headers)
            self._emit(
                f"      found = None if {needs_response} else cache_headers.respond(",
                "        body, None, context.made_at, headers, scope.get('app'))",
            )
            needs_response = "found is None"
        self._emit(
            f"      if {needs_response}:",
            "        answer = Answer(scope, send, request_id)",
            f"        response = {response}",
            "        await response(scope, receive, answer.send)",
            "        if context._resources is not None: await context.resources.close(None)",
            "        return",
        )
        if control is not None and headers is not None:
            self._emit_found("      ")
        else:
            self._emit(
                "      answer = STARTED",
                f"      await send({{'type': 'http.response.start', 'status': {status}, 'headers': [",
                "        (b'content-length', b'%d' % len(body)), JSON_TYPE,",
                "        (b'x-request-id', request_id.encode('latin-1'))]})",
                f"      await send({{'type': 'http.response.body', 'body': {self._sent_body}}})",
            )
        self._emit(
            "      if context._resources is not None: await context.resources.close(None)",
        )


def _nothing(result: Any, **options: Any) -> bytes:
    return b""
