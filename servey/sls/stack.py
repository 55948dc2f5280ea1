"""Build the AWS stack of an app: only the resources that its actions and channels need, with least-privilege IAM."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from servey.app import Servey
from servey.calls.enqueue import why_no_job
from servey.core.access import ALLOW_ALL
from servey.core.actions import Action
from servey.core.channels import BackgroundActionChannel, WebhookEventChannel, WebsocketEventChannel
from servey.core.errors import ConfigError
from servey.core.queues import Retry
from servey.core.settings import Settings
from servey.core.settings.sources import names_of
from servey.core.triggers import CronTrigger, FixedRateTrigger, WebTrigger
from servey.routers.rest.routes import path_of
from servey.sls import iam, resources
from servey.sls.appsync import appsync_resources
from servey.sls.model import (
    MAIN_FUNCTION,
    STREAM_FUNCTION,
    WRAPPER,
    Event,
    Function,
    HttpEvent,
    QueueEvent,
    ScheduleEvent,
    SocketEvent,
    Stack,
    arn_of,
)
from servey.sls.names import name_problems
from servey.sls.own import PLACE, read_own
from servey.sls.schedules import expression_of
from servey.sls.site import site_resources

GATEWAY_SECONDS = 29
"""How long API Gateway waits for a function."""
LONGEST_SECONDS = 900
LONGEST_DELAY_SECONDS = 900
MOST_RESOURCES = 500
_RESOURCES_OF_A_FUNCTION = 6
_TRIES_OF_A_QUEUE = 3
"""Deliveries beyond a job's own tries, for attempts that Lambda killed before they finished."""
_TIMES_VISIBLE = 6
"""The visibility timeout, as a multiple of the function's timeout. Source: Lambda developer guide, "Using SQS"."""


_Jobs: TypeAlias = BackgroundActionChannel[Any] | WebhookEventChannel[Any]


def build_stack(app: Servey, stages: Collection[str] = ()) -> Stack:
    """Return the stack of an app, for these stages; without any, for that of `serverless.yml`.

    Errors: ConfigError with one line for each thing that AWS would reject.
    """
    runtime = app.runtime
    settings, catalog = runtime.settings, runtime.catalog
    jobs: tuple[_Jobs, ...] = (
        *catalog.channels_of(BackgroundActionChannel),
        *catalog.channels_of(WebhookEventChannel),
    )
    sockets = catalog.channels_of(WebsocketEventChannel)
    problems: list[str] = []
    schedules = _schedules(catalog, problems)
    problems += _delay_problems(jobs)
    made: dict[str, Any] = {}
    environment = _environment(settings)
    statements: list[iam.Statement] = []
    events: list[Event] = [HttpEvent()]
    if sockets:
        events += [SocketEvent("$connect"), SocketEvent("$default"), SocketEvent("$disconnect")]
        environment["SERVEY_WEBSOCKET_ENDPOINT"] = resources.WEBSOCKET_ENDPOINT
        statements.append(iam.SEND_TO_WEBSOCKETS)
    retries = [*(channel.retry for channel in jobs), *(action.retry for action in catalog if action.retry is not None)]
    # An action can enqueue jobs through its context.
    enqueues = any(app.runtime.plan(action).reads_context for action in catalog)
    has_queue = bool(retries) or enqueues
    timeout = _timeout(app, jobs, has_queue, problems)
    if has_queue:
        tries = max(retry.max_tries for retry in (*retries, Retry())) + _TRIES_OF_A_QUEUE
        made |= resources.queue(visible=_TIMES_VISIBLE * timeout, tries=tries)
        events.append(QueueEvent("ServeyJobs"))
        environment["SERVEY_QUEUE_URL"] = {"Ref": "ServeyJobs"}
        environment["SERVEY_DEAD_QUEUE_URL"] = {"Ref": "ServeyDeadJobs"}
        statements += [iam.USE_QUEUE, iam.SEND_TO_DEAD_LETTER_QUEUE]
    if sockets or has_queue or schedules:
        made |= resources.table(by_channel=bool(sockets))
        environment["SERVEY_CONNECTION_TABLE"] = {"Ref": "ServeyTable"}
        statements.append(iam.USE_TABLE)
    if sockets:
        statements.append(iam.FIND_SUBSCRIBERS)
    if _needs_key(app):
        made |= resources.key()
        environment["SERVEY_KMS_KEY_ID"] = arn_of("ServeyKey")
        statements.append(iam.SIGN_TOKENS)
    outputs: dict[str, Any] = {}
    site, site_outputs = site_resources(app, problems)
    graphql, graphql_outputs = appsync_resources(app, problems)
    own = read_own(Path.cwd())
    for name in sorted(set(own.environment) & set(environment)):
        problems.append(f"{PLACE}: environment: {name} is written by `servey sls` already; remove it")
    environment |= own.environment
    statements += own.statements
    made |= site | graphql
    outputs |= site_outputs | graphql_outputs
    functions = _functions(app, events, schedules, timeout, problems)
    if settings.aws_streaming:
        made |= resources.streaming_url(STREAM_FUNCTION)
        outputs["ServeyStreamUrl"] = {"Value": {"Fn::GetAtt": ["ServeyStreamUrl", "FunctionUrl"]}}
    problems += name_problems(functions, stages, settings.serverless_yml, has_site=bool(site))
    size = _RESOURCES_OF_A_FUNCTION * len(functions) + 2 * sum(map(len, schedules.values())) + len(made)
    if size > MOST_RESOURCES:
        problems.append(
            f"{len(functions)} functions need about {size} resources; CloudFormation allows {MOST_RESOURCES} in a stack; "
            "set SERVEY_AWS_ROUTER_FOR_ALL=1"
        )
    if problems:
        raise ConfigError(problems)
    made["ServeyRole"] = iam.role([function.name for function in functions], statements)
    return Stack(functions, environment, dict(sorted(made.items())), outputs)


def _schedules(catalog: Iterable[Action], problems: list[str]) -> dict[Action, list[ScheduleEvent]]:
    found: dict[Action, list[ScheduleEvent]] = {}
    for action in catalog:
        for trigger in action.triggers:
            if isinstance(trigger, FixedRateTrigger | CronTrigger):
                kind = "fixed_rate" if isinstance(trigger, FixedRateTrigger) else "cron"
                try:
                    made = ScheduleEvent(expression_of(action, trigger), action.name, kind)
                    found.setdefault(action, []).append(made)
                except ConfigError as error:
                    problems += error.problems
    return found


def _delay_problems(jobs: Iterable[_Jobs]) -> Iterator[str]:
    for channel in jobs:
        delay = getattr(channel, "delay", 0)
        if delay > LONGEST_DELAY_SECONDS:
            yield (
                f"channel '{channel.name}': delay is {delay:g} s; the maximum of SQS is "
                f"{LONGEST_DELAY_SECONDS} s (15 minutes); use a shorter delay or a schedule"
            )


def _timeout(app: Servey, jobs: Iterable[_Jobs], has_queue: bool, problems: list[str]) -> int:
    """Return a timeout that is long enough for every schedule and every job. Units: seconds.

    If there is a queue, any action can be a job that does not need its HTTP request.
    """
    late = {channel.action for channel in jobs if isinstance(channel, BackgroundActionChannel)}
    longest = GATEWAY_SECONDS
    for action in app.runtime.catalog:
        scheduled = any(isinstance(trigger, FixedRateTrigger | CronTrigger) for trigger in action.triggers)
        is_job = scheduled or action in late or action.retry is not None
        if not (is_job or (has_queue and why_no_job(app.runtime.plan(action)) is None)):
            continue
        if action.timeout >= LONGEST_SECONDS and is_job:
            text = f"timeout is {action.timeout:g} s; the maximum of Lambda is {LONGEST_SECONDS} s (15 minutes)"
            problems += action.problem(text).problems
        else:
            longest = max(longest, math.ceil(action.timeout) + 1)
    return min(longest, LONGEST_SECONDS)


def _environment(settings: Settings) -> dict[str, Any]:
    """Return the settings that were set, as environment variables. Secrets are read from the environment at deployment."""
    found: dict[str, Any] = {"SERVEY_ENV": "prod"}
    for name, field in type(settings).model_fields.items():
        if name in _NOT_DEPLOYED or name not in settings.model_fields_set:
            continue
        variables = names_of(name, field)
        variable = variables[0]
        value = getattr(settings, name)
        if not field.repr:
            # The variable that is set here is the one that is set at deployment.
            variable = next((each for each in variables if {each, f"{each}_FILE"} & set(os.environ)), variable)
            found[variable] = "${env:" + variable + "}"
        elif value is not None:
            found[variable] = _text(value)
    return dict(sorted(found.items()))


_NOT_DEPLOYED = frozenset(
    {
        "env", "env_file", "host", "port", "debug", "redis_url", "serverless_yml", "aws_router_for_all", "aws_action",
        "aws_handler",
        "aws_domain", "aws_certificate_arn", "kms_key_id", "queue_url", "dead_queue_url", "connection_table",
        "websocket_endpoint", "appsync", "aws_streaming", "appsync_key_expires",
    }
)  # fmt: skip
"""Settings of the local machine, and settings that the stack itself provides."""


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


def _needs_key(app: Servey) -> bool:
    """Return whether the app verifies tokens and has no other key."""
    settings = app.runtime.settings
    if settings.jwt_secret_key or settings.jwt_public_key or settings.jwks_url:
        return False
    plans = [app.runtime.plan(action) for action in app.runtime.catalog]
    if settings.aws_authorizer is not None:
        plans = []  # API Gateway verifies their callers
    sockets = app.runtime.catalog.channels_of(WebsocketEventChannel)
    return any(plan.guarded or plan.reads_token for plan in plans) or any(
        channel.access_control is not ALLOW_ALL or channel.event_filter is not None for channel in sockets
    )


def _functions(
    app: Servey, events: list[Event], schedules: dict[Action, list[ScheduleEvent]], timeout: int, problems: list[str]
) -> tuple[Function, ...]:
    settings = app.runtime.settings
    own: list[Function] = []
    taken = {MAIN_FUNCTION, STREAM_FUNCTION} if settings.aws_streaming else {MAIN_FUNCTION}
    rest: list[Event] = [event for found in schedules.values() for event in found]
    if settings.aws_router_for_all:
        rest += [route for action in app.runtime.catalog for route in _routes(app, action) if route.authorizer]
    else:
        rest = []
        for action in app.runtime.catalog:
            if "<locals>" in action.fn.__qualname__:
                rest += [*schedules.get(action, []), *(route for route in _routes(app, action) if route.authorizer)]
                continue
            name = re.sub(r"[^A-Za-z0-9_]", "_", action.name)
            if name in taken:
                problems += action.problem(
                    f"its Lambda function '{name}' has the name of another function; rename the action"
                ).problems
            taken.add(name)
            own.append(
                Function(
                    name,
                    settings.aws_handler,
                    min(LONGEST_SECONDS, max(GATEWAY_SECONDS, math.ceil(action.timeout) + 1)),
                    (*_routes(app, action), *schedules.get(action, ())),
                    {"SERVEY_AWS_ACTION": action.name},
                )
            )
    main = Function(MAIN_FUNCTION, settings.aws_handler, timeout, (*events, *rest))
    if settings.aws_streaming:
        # A stream may last as long as Lambda allows; jobs and requests keep their own time.
        wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": f"/var/task/{WRAPPER}"}
        own.append(Function(STREAM_FUNCTION, settings.aws_handler, LONGEST_SECONDS, (), wrapper))
    return (main, *sorted(own, key=lambda function: function.name))


def _routes(app: Servey, action: Action) -> Iterator[HttpEvent]:
    authorizer = app.runtime.settings.aws_authorizer if app.runtime.plan(action).guarded else None
    for trigger in action.triggers:
        if isinstance(trigger, WebTrigger):
            yield HttpEvent(trigger.method.value, gateway_path(path_of(action, trigger)), authorizer)


def gateway_path(path: str) -> str:
    """Convert a route's path to API Gateway's syntax."""
    return re.sub(r":\w+\}", "}", path.replace(":path}", "+}"))
