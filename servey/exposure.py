"""Where each action is exposed, for ``servey actions`` and the development page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from servey.caching.policy import why_not_cached
from servey.calls.invoke import Plan
from servey.core.actions import Action
from servey.core.channels import BackgroundActionChannel
from servey.core.queues import DEFAULT_QUEUE
from servey.core.triggers import WebPageTrigger, WebTrigger
from servey.graphql.schema.fields import Fields
from servey.jobs.schedule import trigger_text, triggers_of
from servey.mcp.offers import Offers
from servey.routers.pages.routes import page_path
from servey.routers.rest.describe import access_text
from servey.routers.rest.routes import path_of
from servey.runtime.runtime import Runtime

HIDDEN_FROM = {"command": "on the command line", "respond-async": "answered later by Prefer: respond-async"}
"""Texts for what an action can be hidden from, except GraphQL, whose fields say it themselves."""


@dataclass(frozen=True)
class Exposure:
    """Where an action is exposed, who may call it, and why other transports do not expose it."""

    name: str
    places: tuple[str, ...]
    absences: tuple[str, ...]
    access: str
    cache: str
    summary: str
    defined_at: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-compatible values."""
        return asdict(self)


def exposure_of(
    runtime: Runtime, action: Action, fields: Fields | None = None, offers: Offers | None = None
) -> Exposure:
    """Describe an action for ``servey actions``; ``fields`` are those of GraphQL, if it is installed, ``offers`` MCP's."""
    plan = runtime.plan(action)
    places = tuple(
        f"{trigger.method} {runtime.prefix}{path_of(action, trigger)}"
        for trigger in action.triggers
        if isinstance(trigger, WebTrigger)
    )
    places += tuple(
        f"page {trigger.method} {runtime.prefix}{page_path(action, trigger)}"
        for trigger in action.triggers
        if isinstance(trigger, WebPageTrigger)
    )
    places += tuple(map(trigger_text, triggers_of(action)))
    channels = runtime.catalog.channels_of(BackgroundActionChannel)
    places += tuple(f"channel {channel.name}" for channel in channels if channel.action is action)
    if fields is not None:
        places += tuple(f"GraphQL {place}" for place in fields.places.get(action, ()))
    if offers is not None:
        places += tuple(offers.places.get(action, ()))
    needed = plan.injection.requests_needed if plan.injection is not None else None
    absences = [f"not on the command line, not as a job: it needs {needed}"] if needed else []
    absences += [f"not {HIDDEN_FROM[each]}: it is hidden there" for each in action.hidden if each in HIDDEN_FROM]
    if runtime.settings.queue_url is not None:
        unkept_options = [name for name, is_set in _job_options(action).items() if is_set]
        absences += [f"not with its {name}: SQS has none" for name in unkept_options]
    if fields is not None:
        absences += fields.absences.get(action, [])
    if offers is not None:
        absences += offers.absences.get(action, [])
    unkept = why_not_cached(action, plan.injection)
    if unkept:
        absences.append(f"not kept on the server: {unkept}")
    cache = (
        "" if action.cache_control is None else str(action.cache_control) + (", server" if plan.cache_policy else "")
    )
    return Exposure(action.name, places, tuple(absences), access_of(plan), cache, action.summary, action.place)


def access_of(plan: Plan) -> str:
    """Return a text that says who may call an action: its rule, and the security schemes of its dependencies."""
    rule = access_text(plan)
    schemes = plan.injection.schemes if plan.injection is not None else ()
    return " and ".join((*(() if schemes and rule == "ALLOW_ALL" else (rule,)), *schemes))


def _job_options(action: Action) -> dict[str, bool]:
    """Return which options of an action concern its jobs and are set."""
    return {"queue": action.queue != DEFAULT_QUEUE, "priority": action.priority != 0, "limit": action.limit is not None}
