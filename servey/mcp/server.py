"""The methods of the protocol, for every transport of its messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from servey.core.access import Authorization
from servey.core.errors import Overloaded, Unauthenticated
from servey.mcp.calls import CallFailed, Exchange, call_action
from servey.mcp.kinds.channels import ChannelResource, listen
from servey.mcp.kinds.prompts import Prompt, completion_of
from servey.mcp.kinds.resources import Resource
from servey.mcp.kinds.search import CALL_TOOL, SEARCH_TOOLS, found_tools, problem_of_call
from servey.mcp.kinds.tools import Tool
from servey.mcp.messages import (
    HANDSHAKE_VERSIONS,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LISTEN,
    META_SERVER,
    META_SUBSCRIPTION,
    METHOD_NOT_FOUND,
    MODERN_VERSIONS,
    RESOURCE_NOT_FOUND,
    ProtocolError,
    Request,
    encode_result,
    members_of,
)
from servey.mcp.offers import Offers, may_call, may_read
from servey.mcp.protected import ProtectedResource
from servey.mcp.questions import InputRequired, check_asked
from servey.mcp.reads import called, freshness_of
from servey.mcp.results import (
    members_of_contents,
    members_of_failure,
    members_of_messages,
    members_of_result,
)
from servey.mcp.tasks import EXTENSION as TASKS
from servey.mcp.tasks import METHODS as TASK_METHODS
from servey.mcp.tasks import begins_task, begun_task, check_support, handle_task
from servey.runtime.runtime import Runtime

Offered = TypeVar("Offered", bound=Tool | Resource | Prompt)

PAGE_SIZE = 100
"""How many tools, resources or prompts one page of a list has."""

_LIST_SECONDS = 60
"""How long clients may keep a list: what is offered changes with a new version of the app only."""

_HANDSHAKE_ONLY = {"initialize", "ping"}
_MODERN_ONLY = {"server/discover", LISTEN, *TASK_METHODS}


class Server:
    """Answers the requests of clients with what an app offers. It keeps nothing between requests."""

    def __init__(self, runtime: Runtime, offers: Offers, path: str) -> None:
        self.runtime = runtime
        self.offers = offers
        self.path = path
        self.is_guarded: bool = offers.is_guarded
        self._templates = [each for each in offers.resources.values() if each.is_template]
        self._methods: dict[str, Callable[[Request, Exchange], Awaitable[bytes]]] = {
            "initialize": self._initialize,
            "ping": self._ping,
            "server/discover": self._discover,
        }
        if offers.tools:
            self._methods |= {"tools/list": self._list_tools, "tools/call": self._call_tool}
        if offers.have_tasks:
            self._methods |= dict.fromkeys(TASK_METHODS, self._handle_task)
        if offers.channels:
            self._methods[LISTEN] = self._listen
        if offers.resources or offers.channels:
            self._methods |= {
                "resources/list": self._list_resources,
                "resources/templates/list": self._list_templates,
                "resources/read": self._read_resource,
            }
        if offers.prompts:
            self._methods |= {"prompts/list": self._list_prompts, "prompts/get": self._get_prompt}
        if offers.resources or offers.prompts:
            self._methods["completion/complete"] = self._complete
        self._stamps: dict[str, bytes] = {}
        self._listening = 0

    async def respond(self, request: Request, exchange: Exchange) -> bytes:
        """Return the response with the result, or of a modern version with a question.

        Errors: ActionError; ProtocolError for a message that the protocol does not allow; InputRequired of an older version.
        """
        method = self._methods.get(request.method)
        if method is None or request.method in (_HANDSHAKE_ONLY if request.is_modern else _MODERN_ONLY):
            raise ProtocolError(METHOD_NOT_FOUND, f"There is no method '{request.method[:100]}'", status=404)
        try:
            members = await method(request, exchange)
            if request.method == LISTEN:
                meta = {META_SERVER: self._info(), META_SUBSCRIPTION: request.id}
                return encode_result(request.id, members_of({"resultType": "complete", "_meta": meta}))
            return encode_result(request.id, members, self._stamp(request, exchange.result_type))
        except InputRequired as asked:
            if not request.is_modern:
                raise
            return encode_result(request.id, members_of(asked.members()), self._stamp(request, "input_required"))

    @property
    def protected(self) -> ProtectedResource:
        """The endpoint as an OAuth resource."""
        return ProtectedResource(self.runtime.settings, self.path)

    def _stamp(self, request: Request, kind: str) -> bytes:
        """Return the members that each result of a modern version has."""
        if not request.is_modern:
            return b""
        if kind not in self._stamps:
            self._stamps[kind] = members_of({"resultType": kind, "_meta": {META_SERVER: self._info()}})
        return self._stamps[kind]

    # ------------------------------------------------------------------------------------------------------ connecting

    async def _initialize(self, request: Request, exchange: Exchange) -> bytes:
        asked = request.text("protocolVersion")
        await self._caller(exchange)
        version = asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1]
        return members_of({"protocolVersion": version, "serverInfo": self._info(), **self._about(request, exchange)})

    async def _ping(self, request: Request, exchange: Exchange) -> bytes:
        return b""

    async def _discover(self, request: Request, exchange: Exchange) -> bytes:
        await self._caller(exchange)
        versions = [*MODERN_VERSIONS, *reversed(HANDSHAKE_VERSIONS)]
        return members_of({"supportedVersions": versions, **self._about(request, exchange), **self._freshness()})

    def _info(self) -> dict[str, str]:
        app = self.runtime.app
        return {"name": app.title, "version": app.version}

    def _about(self, request: Request, exchange: Exchange) -> dict[str, Any]:
        resources = self.offers.resources or self.offers.channels
        offers = {"tools": self.offers.tools, "resources": resources, "prompts": self.offers.prompts}
        capabilities: dict[str, Any] = {name: {"listChanged": False} for name, offered in offers.items() if offered}
        if self.offers.channels and exchange.notify is not None:
            capabilities["resources"]["subscribe"] = True
        if self.offers.resources or self.offers.prompts:
            capabilities["completions"] = {}
        if self.offers.have_tasks and request.is_modern:
            capabilities["extensions"] = {TASKS: {}}
        instructions = self.runtime.app.description
        return {"capabilities": capabilities} | ({"instructions": instructions} if instructions else {})

    def _freshness(self) -> dict[str, Any]:
        return {"ttlMs": _LIST_SECONDS * 1000, "cacheScope": "private" if self.is_guarded else "public"}

    async def _caller(self, exchange: Exchange) -> Authorization | None:
        """Return who asks what there is.

        Errors: Unauthenticated if everything requires a token and there is none, so that clients can obtain one.
        """
        if not self.is_guarded or exchange.context.trusted:
            return None
        authorization = await exchange.context.authorize()
        is_asked = authorization is None and self.runtime.settings.mcp_lists == "callable"
        if is_asked and not await self.offers.allow_something(None):
            raise Unauthenticated()
        return authorization

    async def _list(
        self, key: str, offered: Iterable[Tool | Resource | Prompt], request: Request, exchange: Exchange
    ) -> bytes:
        """Return one page of what the caller may use. The cursor is the place where the page begins."""
        listed = await self._usable(offered, exchange)
        return self._page(key, [each.described for each in listed], request)

    async def _usable(self, offered: Iterable[Offered], exchange: Exchange) -> list[Offered]:
        """Return what the caller may use and its client can. Errors: those of `_caller`."""
        authorization = await self._caller(exchange)
        offered = [each for each in offered if exchange.answers is not None or not each.trigger.asks]
        if exchange.context.trusted or self.runtime.settings.mcp_lists == "all":
            return offered
        return [each for each in offered if not each.plan.guarded or await may_call(each.plan, authorization)]

    def _page(self, key: str, described: list[dict[str, Any]], request: Request) -> bytes:
        begin = _begin_of(request.params.get("cursor"))
        end = begin + PAGE_SIZE
        page: dict[str, Any] = {key: described[begin:end]}
        page |= {"nextCursor": str(end)} if end < len(described) else {}
        return members_of(page | (self._freshness() if request.is_modern else {}))

    # ----------------------------------------------------------------------------------------------------------- tools

    async def _list_tools(self, request: Request, exchange: Exchange) -> bytes:
        listed = await self._usable(self.offers.tools.values(), exchange)
        if len(listed) > self.runtime.settings.mcp_max_listed:
            return self._page("tools", [SEARCH_TOOLS, CALL_TOOL], request)
        return self._page("tools", [each.described for each in listed], request)

    def called_tool(self, request: Request) -> Tool | None:
        """Return the tool that a request calls, by its name or by `call_tool`, or None."""
        return self.offers.tools.get(str(self._called_by(request)[0])) if request.method == "tools/call" else None

    def _called_by(self, request: Request) -> tuple[Any, Any]:
        """Return the name and the arguments of the tool that a request calls."""
        name, arguments = request.params.get("name"), request.params.get("arguments")
        if self._is_relayed(name):
            inner = arguments if isinstance(arguments, dict) else {}
            return inner.get("name"), inner.get("arguments")
        return name, arguments

    def _is_relayed(self, name: Any) -> bool:
        """Whether a name is that of `call_tool`."""
        return bool(name == CALL_TOOL["name"] and self.offers.are_many)

    async def _call_tool(self, request: Request, exchange: Exchange) -> bytes:
        outer = request.text("name")
        if outer == SEARCH_TOOLS["name"] and self.offers.are_many:
            return found_tools(
                await self._usable(self.offers.tools.values(), exchange), _arguments(request.params.get("arguments"))
            )
        name, arguments = self._called_by(request)
        tool = self.offers.tools.get(str(name))
        if self._is_relayed(outer):
            error = problem_of_call(name, arguments, is_known=tool is not None)
            if error is not None:
                return members_of_failure(error, "")
        if tool is None:
            raise ProtocolError(INVALID_PARAMS, f"There is no tool '{outer[:100]}'; list them with tools/list")
        params = _arguments(arguments)
        try:
            if begins_task(tool, request, self.runtime):
                return await begun_task(tool, params, exchange)
            return await call_action(tool.plan, params, exchange, partial(members_of_result, tool, exchange.progress))
        except CallFailed as failed:
            check_asked(failed.error, request)
            return members_of_failure(failed.error, exchange.context.request_id)

    async def _handle_task(self, request: Request, exchange: Exchange) -> bytes:
        tools = {each.action.name: each for each in self.offers.tools.values() if each.trigger.task}
        return await handle_task(request, exchange, tools)

    # ------------------------------------------------------------------------------------------------------- resources

    async def _list_resources(self, request: Request, exchange: Exchange) -> bytes:
        resources = [each for each in self.offers.resources.values() if not each.is_template]
        described = [each.described for each in await self._usable(resources, exchange)]
        lists_all = exchange.context.trusted or self.runtime.settings.mcp_lists == "all"
        authorization = await self._caller(exchange)
        described += [
            each.described for each in self.offers.channels.values() if lists_all or await may_read(each, authorization)
        ]
        return self._page("resources", described, request)

    async def _list_templates(self, request: Request, exchange: Exchange) -> bytes:
        return await self._list("resourceTemplates", self._templates, request, exchange)

    async def _read_resource(self, request: Request, exchange: Exchange) -> bytes:
        uri = request.text("uri")
        if uri in self.offers.channels:
            return await self._read_channel(self.offers.channels[uri], request, exchange)
        resource, params = self._found(uri)
        if resource is None:
            code = INVALID_PARAMS if request.is_modern else RESOURCE_NOT_FOUND
            raise ProtocolError(
                code, "There is no such resource; list them with resources/list", data={"uri": uri[:1000]}
            )
        members = await called(resource, params, request, exchange, partial(members_of_contents, resource, uri))
        return (
            members + b"," + members_of(freshness_of(resource.plan, exchange.context)) if request.is_modern else members
        )

    async def _read_channel(self, channel: ChannelResource, request: Request, exchange: Exchange) -> bytes:
        context = exchange.context
        members = await channel.read(self.runtime, await context.authorize(), trusted=context.trusted)
        return members + b',"ttlMs":0,"cacheScope":"private"' if request.is_modern else members

    async def _listen(self, request: Request, exchange: Exchange) -> bytes:
        wanted = request.params.get("notifications")
        uris = wanted.get("resourceSubscriptions") if isinstance(wanted, dict) else None
        if not isinstance(wanted, dict) or not isinstance(uris, list | None):
            raise ProtocolError(
                INVALID_PARAMS, "'notifications' must be an object; 'resourceSubscriptions' in it a list"
            )
        if "taskIds" in wanted:
            check_support(request)
        if exchange.notify is None:
            raise ProtocolError(INVALID_REQUEST, "Notifications need HTTP, and Accept: text/event-stream")
        if self._listening >= self.runtime.settings.channel_connections:
            raise Overloaded("Too many clients listen to this process; try again later")
        found = [each for uri, each in self.offers.channels.items() if uri in (uris or ())]
        self._listening += 1
        try:
            return await listen(self.runtime, found, request, await exchange.context.authorize(), exchange.notify)
        finally:
            self._listening -= 1

    def _found(self, uri: str) -> tuple[Resource | None, Mapping[str, str | list[str]]]:
        for each in (self.offers.resources.get(uri), *self._templates):
            params = None if each is None else each.params_of(uri)
            if params is not None:
                return each, params
        return None, {}

    # --------------------------------------------------------------------------------------------------------- prompts

    async def _list_prompts(self, request: Request, exchange: Exchange) -> bytes:
        return await self._list("prompts", self.offers.prompts.values(), request, exchange)

    async def _get_prompt(self, request: Request, exchange: Exchange) -> bytes:
        name = request.text("name")
        prompt = self.offers.prompts.get(name)
        if prompt is None:
            raise ProtocolError(INVALID_PARAMS, f"There is no prompt '{name[:100]}'; list them with prompts/list")
        return await called(
            prompt,
            prompt.params_of(_arguments(request.params.get("arguments"))),
            request,
            exchange,
            partial(members_of_messages, prompt),
        )

    async def _complete(self, request: Request, exchange: Exchange) -> bytes:
        ref, argument = request.params.get("ref"), request.params.get("argument")
        if not isinstance(ref, dict) or not isinstance(argument, dict):
            raise ProtocolError(INVALID_PARAMS, "'ref' and 'argument' must be objects")
        offered: Prompt | Resource | None = self.offers.prompts.get(str(ref.get("name")))
        if ref.get("type") == "ref/resource":
            offered = self.offers.resources.get(str(ref.get("uri")))
        if offered is None or not await self._is_callable(offered, exchange):
            raise ProtocolError(INVALID_PARAMS, "'ref' names neither a prompt nor a resource template")
        begun = argument.get("value")
        values = completion_of(offered.action, str(argument.get("name")), begun if isinstance(begun, str) else "")
        return members_of({"completion": values})

    async def _is_callable(self, offered: Prompt | Resource, exchange: Exchange) -> bool:
        return (
            not offered.plan.guarded
            or exchange.context.trusted
            or await may_call(offered.plan, await exchange.context.authorize())
        )


def _arguments(arguments: Any) -> dict[str, Any]:
    if not isinstance(arguments, dict | None):
        raise ProtocolError(INVALID_PARAMS, "'arguments' must be an object with one member per parameter")
    return arguments or {}


def _begin_of(cursor: Any) -> int:
    if cursor is None:
        return 0
    if not isinstance(cursor, str) or not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise ProtocolError(INVALID_PARAMS, "'cursor' is not one that a list has returned")
    return int(cursor)
