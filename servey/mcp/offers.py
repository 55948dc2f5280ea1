"""Which actions are offered over MCP, and why others are not. Computed at start."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from servey.calls.enqueue import why_no_job
from servey.calls.invoke import Plan
from servey.core.access import AccessControl, Authorization, allows, required_scopes
from servey.core.actions import Action
from servey.core.channels import WebsocketEventChannel
from servey.core.errors import ActionError, ConfigError
from servey.core.settings import Settings
from servey.core.triggers import MCP_TOOL, McpTrigger, WebTrigger
from servey.mcp.kinds.channels import ChannelResource
from servey.mcp.kinds.prompts import Prompt
from servey.mcp.kinds.resources import Resource, address_of, address_problem
from servey.mcp.kinds.search import OWN_NAMES
from servey.mcp.kinds.tools import Tool, offered_name
from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")


@dataclass(frozen=True)
class Offers:
    """What clients can use, by name or address; ``places`` says where each action is offered, ``absences`` why it is not."""

    tools: dict[str, Tool] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    prompts: dict[str, Prompt] = field(default_factory=dict)
    channels: dict[str, ChannelResource] = field(default_factory=dict)
    places: dict[Action, list[str]] = field(default_factory=dict)
    absences: dict[Action, list[str]] = field(default_factory=dict)
    max_listed: int = 50

    @property
    def are_many(self) -> bool:
        """Whether there are more tools than lists show; then agents can search them."""
        return len(self.tools) > self.max_listed

    @property
    def have_tasks(self) -> bool:
        """Whether some tools are tasks."""
        return any(each.trigger.task for each in self.tools.values())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to use."""
        return not self.places and not self.channels

    @property
    def is_guarded(self) -> bool:
        """Whether access to something is restricted."""
        return any(plan.guarded for plan in self.plans()) or any(each.is_guarded for each in self.channels.values())

    @property
    def scopes(self) -> list[str]:
        """The scopes that access rules name."""
        rules = [plan.action.access_control for plan in self.plans()]
        rules += [each.channel.access_control for each in self.channels.values()]
        return sorted({scope for rule in rules for scope in required_scopes(rule)})

    async def allow_something(self, authorization: Authorization | None) -> bool:
        """Whether a caller may use something."""
        for plan in self.plans():
            if await may_call(plan, authorization):
                return True
        return any([await may_read(each, authorization) for each in self.channels.values()])

    def plans(self) -> Iterator[Plan]:
        """Yield the plan of everything that is offered."""
        offered: list[Tool | Resource | Prompt] = [
            *self.tools.values(),
            *self.resources.values(),
            *self.prompts.values(),
        ]
        for each in offered:
            yield each.plan


def offers_of(runtime: Runtime, *, has_request: bool = True) -> Offers:
    """Return what an app offers; ``has_request`` says whether calls have an HTTP request.

    Errors: ConfigError for invalid names and addresses, and for two actions of one name or address.
    """
    made, problems = Offers(max_listed=runtime.settings.mcp_max_listed), list[str]()
    if runtime.settings.mcp == "off":
        return made
    tags = {tag for action in runtime.catalog for tag in action.tags}
    problems += [
        f"setting SERVEY_MCP_TAGS: no action has the tag '{tag}'"
        for tag in runtime.settings.mcp_tags
        if tag not in tags
    ]
    for action in runtime.catalog:
        if "mcp" in action.hidden:
            continue
        triggers = [each for each in action.triggers if isinstance(each, McpTrigger)]
        if not triggers and is_implied(action, runtime.settings):
            triggers = [MCP_TOOL]
        plan = runtime.plan(action)
        needed = None
        if plan.injection is not None:
            needed = plan.injection.required_place if has_request else plan.injection.requests_needed
        if triggers and needed:
            made.absences[action] = [f"not over MCP: it needs {needed}"]
            continue
        problems += [problem for trigger in triggers if (problem := _add(made, plan, trigger))]
    for channel in runtime.catalog.channels_of(WebsocketEventChannel):
        if channel.mcp or (runtime.settings.mcp == "web" and channel.history):
            resource = ChannelResource(channel)
            made.channels[resource.uri] = resource
            if resource.uri in made.resources:
                action = made.resources[resource.uri].action
                problems.append(
                    _problem(action, f"the MCP address '{resource.uri}' is that of the channel '{channel.name}'")
                )
    if made.are_many:
        for name in OWN_NAMES & made.tools.keys():
            text = f"the MCP tool '{name}' is Servey's own where there are more than {made.max_listed} tools"
            problems.append(_problem(made.tools[name].action, f"{text}; set McpTrigger(name=...)"))
    if problems:
        raise ConfigError(problems)
    return made


def is_implied(action: Action, settings: Settings) -> bool:
    """Whether the settings make a tool of an action that has no `McpTrigger`."""
    if settings.mcp != "web" and not set(settings.mcp_tags) & set(action.tags):
        return False
    return any(isinstance(each, WebTrigger) for each in action.triggers)


def _add(made: Offers, plan: Plan, trigger: McpTrigger) -> str | None:
    """Add what a trigger offers; return what is wrong with it, or None."""
    action, name = plan.action, offered_name(plan.action, trigger)
    if name is None:
        shown = trigger.name or action.name
        text = f"the MCP name {shown!r} must have 1 to 128 of the characters A-Z a-z 0-9 _ - and dot"
        return _problem(action, f"{text}; set McpTrigger(name=...)")
    reason = why_no_job(plan) if trigger.task else None
    if reason is not None:
        return _problem(action, f"McpTrigger(task=True): it cannot be a task, because {reason}")
    key = name
    other: Tool | Resource | Prompt
    if trigger.kind == "tool":
        other = made.tools.setdefault(name, Tool(name, plan, trigger))
    elif trigger.kind == "prompt":
        other = made.prompts.setdefault(name, Prompt(name, plan, trigger))
    else:
        key = address_of(action, trigger)
        problem = address_problem(action, key)
        if problem is not None:
            return _problem(action, problem)
        other = made.resources.setdefault(key, Resource(name, key, plan, trigger))
    if other.action is not action:
        return (
            f"action '{other.action.name}' ({other.action.place}) and action '{action.name}' ({action.place}) are both "
            f"the MCP {trigger.kind} '{key}'; set McpTrigger({'uri' if trigger.kind == 'resource' else 'name'}=...) "
            "on one of them"
        )
    made.places.setdefault(action, []).append(f"MCP {trigger.kind} {key}")
    return None


def _problem(action: Action, text: str) -> str:
    problems: Any = action.problem(text).problems
    return str(problems[0])


async def may_call(plan: Plan, authorization: Authorization | None) -> bool:
    """Whether a caller passes the part of an action's access rule that needs no parameters."""
    if authorization is None and plan.needs_token:
        return False
    rule = plan.check_before_params
    return rule is None or await _passes(rule, authorization, {}, f"action '{plan.action.name}'")


async def may_read(resource: ChannelResource, authorization: Authorization | None) -> bool:
    """Whether a caller may subscribe to a channel."""
    channel = resource.channel
    params = {"channel": channel.name, "subscriber_id": None}
    return await _passes(channel.access_control, authorization, params, f"channel '{channel.name}'")


async def _passes(
    rule: AccessControl, authorization: Authorization | None, params: Mapping[str, Any], what: str
) -> bool:
    """Whether a rule allows a caller. One that raises must not hide everything else from a list; a call says what it was."""
    try:
        return await allows(rule, authorization, params)
    except ActionError:
        return False
    except Exception:
        logger.warning("the access rule of %s failed, so it is not listed", what, exc_info=True)
        return False
