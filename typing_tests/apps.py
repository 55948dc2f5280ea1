"""Type checkers see an app as a FastAPI app. This file is type-checked, never run."""

from typing import assert_type

from fastapi import FastAPI

from servey import (
    ActionError,
    Authorization,
    Context,
    Redirect,
    Retry,
    ScopeAccessControl,
    Servey,
    Settings,
    WebPageResponse,
    action,
    create_app,
    current_context,
)


@action(access_control=ScopeAccessControl("reader") & ScopeAccessControl("writer"), retry=Retry(max_tries=3))
async def act(context: Context) -> str:
    return await context.enqueue(act, {}, delay=5, key="once")


app = create_app(actions=[act], settings=Settings(env="dev"))
assert_type(app, Servey)
fastapi: FastAPI = app
Servey().install(fastapi, prefix="/servey")
Servey().install("app")  # E: an app of FastAPI
create_app(actions=act)  # E: several actions
create_app(settings={"env": "dev"})  # E: Settings
assert_type(Authorization(subject_id="u").has_scope("root"), bool)
Authorization(subject_id="u", scopes=1)  # E: scopes are texts
current_context().request_id.lower()
ActionError(409, "conflict", "there is one")
ActionError("409")  # E: a status is a number
Redirect("/", status_code=303)
Redirect(307)  # E: a URL
WebPageResponse({"a": 1}, status_code="200")  # E: a status is a number
