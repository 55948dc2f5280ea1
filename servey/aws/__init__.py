"""The whole app as one AWS Lambda function: `handler` for the project in the working directory, or `build_handler(app)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from servey.app import Servey
    from servey.aws.dispatch import LambdaHandler

    handler: LambdaHandler
    invoke: LambdaHandler

__all__ = ["build_handler", "handler"]


def build_handler(app: Servey, *, host: FastAPI | None = None) -> LambdaHandler:
    """The Lambda handler of an app; ``host`` is the FastAPI app that answers HTTP where this one is installed in it.

    Errors: ConfigError for a function of one action that is not there.
    """
    from servey.aws.dispatch import LambdaHandler, Others
    from servey.jobs.perform import perform_job
    from servey.jobs.service import jobs_and_schedules_here
    from servey.parts import Parts
    from servey.ws import frames

    # SQS and EventBridge call the function; nothing of ours may run between two calls.
    if app.runtime.settings.queue_url is None and app.runtime.parts.queue == Parts().queue:
        app.runtime.parts.queue = "servey.aws.queue:no_queue_of"
    services = app.runtime.services
    services[:] = [service for service in services if service is not jobs_and_schedules_here]
    return LambdaHandler(host or app, app.runtime, Others(perform_job, frames))


def _handler_of_the_project() -> LambdaHandler:
    import gc

    # Whatever is made here stays as long as the process: looking through it for garbage is a fifth of a cold start.
    gc.disable()
    try:
        from servey.app import create_app

        return build_handler(create_app())
    finally:
        gc.freeze()
        gc.enable()


def __getattr__(name: str) -> Any:
    # Lambda asks for it while it starts the process, which is when the app should be built; nobody else has to wait.
    if name in ("handler", "invoke"):
        made = globals()["handler"] = globals()["invoke"] = _handler_of_the_project()
        return made
    raise AttributeError(f"module 'servey.aws' has no attribute {name!r}")
