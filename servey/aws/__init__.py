"""Run an app as one AWS Lambda function: `handler` for the project in the working directory, or `build_handler(app)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from servey.app import Servey
    from servey.aws.appsync import FieldFinder
    from servey.aws.dispatch import LambdaHandler
    from servey.aws.queue import Outcome
    from servey.core.queues import CancelRequest, Job
    from servey.runtime.runtime import Runtime

    handler: LambdaHandler
    invoke: LambdaHandler

__all__ = ["build_handler", "handler"]


def build_handler(app: Servey, *, host: FastAPI | None = None) -> LambdaHandler:
    """Return the Lambda handler of an app. Pass ``host``, a FastAPI app, if this app is installed in it; it answers HTTP.

    Errors: ConfigError if ``SERVEY_AWS_ACTION`` names an action that does not exist.
    """
    from servey.core.errors import extras_named

    with extras_named():
        from servey.aws.dispatch import NO_QUEUE, LambdaHandler, TransportHooks
    from servey.jobs.service import jobs_and_schedules_here
    from servey.runtime.parts import Parts

    # SQS and EventBridge invoke the function. Lambda freezes the process between invocations, so no worker may run in it.
    if app.runtime.settings.queue_url is None and app.runtime.parts.queue == Parts().queue:
        app.runtime.parts.queue = NO_QUEUE
    services = app.runtime.services
    services[:] = [service for service in services if service is not jobs_and_schedules_here]
    return LambdaHandler(host or app, app.runtime, TransportHooks(_perform, _frames, _fields))


async def _perform(runtime: Runtime, job: Job, tries: int, cancel: CancelRequest, seconds: float | None) -> Outcome:
    from servey.jobs.perform import perform_job

    return await perform_job(runtime, job, tries, cancel, seconds)


def _frames() -> Any:
    from servey.ws import frames

    return frames


def _fields(runtime: Runtime) -> FieldFinder:
    from servey.graphql.plain import plain_fields

    return plain_fields(runtime)


def _project_handler() -> LambdaHandler:
    import gc

    from servey.compat.generated_methods import generated_methods

    # Everything created here lives as long as the process. Collecting garbage meanwhile takes a fifth of a cold start.
    gc.disable()
    try:
        with generated_methods():
            from servey.compat.openapi_models import import_openapi_models

            import_openapi_models()
            from servey.compat.pydantic_v1 import only_imported_v1

            with only_imported_v1():
                from servey.project import load_project

                project = load_project()
                app = project.required
                return build_handler(app, host=None if project.app is app else project.app)
    finally:
        gc.freeze()
        gc.enable()


def __getattr__(name: str) -> Any:
    # Lambda reads the attribute during its init phase, so the app is built then. Other importers do not pay for it.
    if name in ("handler", "invoke"):
        created = globals()["handler"] = globals()["invoke"] = _project_handler()
        return created
    raise AttributeError(f"module 'servey.aws' has no attribute {name!r}")
