"""The whole app as one AWS Lambda function: `handler` for the project in the working directory, or `build_handler(app)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from servey.aws.dispatch import LambdaHandler
    from servey.aws.dispatch import build_handler as build_handler

    handler: LambdaHandler
    invoke: LambdaHandler

__all__ = ["build_handler", "handler"]


def __getattr__(name: str) -> Any:
    # Lambda asks for it while it starts the process, which is when the app should be built; nobody else has to wait.
    if name == "build_handler":
        from servey.aws.dispatch import build_handler

        return build_handler
    if name in ("handler", "invoke"):
        from servey.app import create_app
        from servey.aws.dispatch import build_handler

        made = globals()["handler"] = globals()["invoke"] = build_handler(create_app())
        return made
    raise AttributeError(f"module 'servey.aws' has no attribute {name!r}")
