"""Generates apps from a seed: the same functions, middleware, handlers and dependencies on FastAPI and on Servey."""

from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from servey import Servey, Settings, WebTrigger, action, create_app

SETTINGS = Settings(env="prod")
EVENTS: list[str] = []


def saw(*what: Any) -> None:
    EVENTS.append(" ".join(map(str, what)))


class Boom(Exception):
    pass


class Deeper(Boom):
    pass


class Item(BaseModel):
    name: str
    size: int = 1


# ------------------------------------------------------------------------------------------------------- dependencies


def opens(name: str, fails: type[Exception] | None, late: bool) -> Callable[..., Any]:
    async def opened() -> Any:
        saw(name, "opens")
        if fails is not None and not late:
            raise fails(name)
        try:
            yield name
        except Exception as error:
            saw(name, "sees", type(error).__name__)
            raise
        finally:
            saw(name, "closes")

    def plain(response: Response, x_name: Annotated[str, Header()] = "nobody") -> str:
        saw(name, x_name)
        response.headers["X-Dependency"] = name
        return name

    return plain if late else opened


def replaced() -> str:
    saw("override")
    return "override"


# ------------------------------------------------------------------------------------------------------------ functions


def functions(random: Random, depends: list[Callable[..., Any]]) -> dict[str, tuple[str, Callable[..., Any]]]:
    """Some functions by name, each with its method."""
    one = random.choice(depends)
    status = random.choice((201, 202, 204, 400))

    after_response = random.choice((Boom, ValueError, HTTPException))

    async def fails_late() -> Any:
        yield "late"
        saw("fails late")
        raise after_response(418)

    async def plain(q: int = 3) -> int:
        saw("plain", q)
        return q

    def threaded(items: Annotated[list[str] | None, Query()] = None) -> list[str]:
        saw("threaded", items)
        return items or []

    async def model(name: str) -> Item:
        return Item(name=name)

    async def depending(got: Annotated[str, Depends(one)]) -> str:
        saw("depending", got)
        return got

    async def breaking(got: Annotated[str, Depends(one)]) -> str:
        raise random_error("breaking")

    def refusing() -> str:
        raise HTTPException(status if status > 300 else 409, "refused", {"X-Refused": "1"})

    async def responding(response: Response, tasks: BackgroundTasks) -> str:
        response.headers["X-Own"] = "1"
        response.status_code = status
        tasks.add_task(saw, "background")
        return "responded"

    async def whole(got: Annotated[str, Depends(one)]) -> Response:
        return PlainTextResponse(got, status if status != 204 else 200, {"X-Whole": "1"})

    async def streaming() -> StreamingResponse:
        async def parts() -> Any:
            saw("first")
            yield b"a"
            yield b"b"
            saw("last")

        return StreamingResponse(parts(), media_type="text/plain")

    async def asking(request: Request) -> list[str]:
        route, endpoint = request.scope["route"], request.scope["endpoint"]
        matched = [route.path, endpoint.__name__, str(request.scope["path_params"])]
        return [request.url.path, request.method, str(getattr(request.state, "k", None)), *matched]

    async def late(got: Annotated[str, Depends(fails_late)]) -> str:
        return got

    async def breaking_plain() -> int:
        raise random_error("breaking_plain")

    errors = [Boom, Deeper, ValueError, LookupError]
    chosen = random.choice(errors)

    def random_error(text: str) -> Exception:
        return chosen(text)

    candidates = [
        plain,
        threaded,
        model,
        depending,
        breaking,
        refusing,
        responding,
        whole,
        streaming,
        asking,
        breaking_plain,
        late,
    ]
    return {each.__name__: ("GET", each) for each in random.sample(candidates, random.randint(3, 6))}


# ---------------------------------------------------------------------------------------------- middleware and handlers


class Transaction:
    def __init__(self, app: Any, name: str) -> None:
        self.app, self.name = app, name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        saw(self.name, "begins")
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            saw(self.name, "rolls back", type(error).__name__)
            raise
        saw(self.name, "commits", getattr(scope.get("route"), "path", "nothing").removeprefix("/api"))


async def around(request: Request, call_next: Any) -> Any:
    saw("around begins")
    try:
        response = await call_next(request)
    except Exception as error:
        saw("around sees", type(error).__name__)
        raise
    response.headers["X-Around"] = "1"
    saw("around ends", response.status_code)
    return response


async def stops(request: Request, call_next: Any) -> Any:
    if "stop" in request.url.query:
        return PlainTextResponse("stopped", 403)
    return await call_next(request)


MIDDLEWARE: list[Callable[[], Middleware]] = [
    lambda: Middleware(Transaction, name="outer"),
    lambda: Middleware(BaseHTTPMiddleware, dispatch=around),
    lambda: Middleware(GZipMiddleware, minimum_size=1),
    lambda: Middleware(BaseHTTPMiddleware, dispatch=stops),
    lambda: Middleware(Transaction, name="inner"),
]


async def handles(request: Request, error: Exception) -> JSONResponse:
    saw("handler", type(error).__name__)
    body = (await request.body()).decode()
    detail = str(getattr(error, "detail", error)) if not isinstance(error, RequestValidationError) else "invalid"
    return JSONResponse({"handled": detail, "body": body}, 499, {"X-Handled": "1"})


HANDLED = [Boom, Deeper, ValueError, LookupError, Exception, 500, 404, 405, 409, HTTPException, StarletteHTTPException]
HANDLED += [RequestValidationError]


@asynccontextmanager
async def lifespan(app: Any) -> Any:
    yield {"k": "v"}


# ---------------------------------------------------------------------------------------------------------------- apps


@dataclass
class Twins:
    """Two apps of one description, and the paths of their routes."""

    fastapi: Any
    servey: Any
    paths: list[str]
    text: str


def generated(seed: int) -> Twins:
    random = Random(seed)
    depends = [opens(f"d{number}", random.choice((None, None, Boom)), random.random() < 0.5) for number in range(3)]
    found = functions(random, depends)
    middleware = [MIDDLEWARE[each] for each in sorted(random.sample(range(len(MIDDLEWARE)), random.randint(0, 3)))]
    handled = random.sample(HANDLED, random.randint(0, 3))
    overrides = {random.choice(depends): replaced} if random.random() < 0.3 else {}
    how = random.choice(("plain", "plain", "installed", "mounted", "replaced"))
    has_lifespan = random.random() < 0.5
    has_router = random.random() < 0.5

    def options() -> dict[str, Any]:
        made: dict[str, Any] = {"middleware": [each() for each in middleware]}
        made["exception_handlers"] = dict.fromkeys(handled, handles)
        if has_lifespan:
            made["lifespan"] = lifespan
        return made

    def add_others(app: Any) -> None:
        if has_router:
            router = APIRouter(prefix="/other", dependencies=[Depends(depends[0])])
            router.get("/route")(lambda: "other")
            app.include_router(router)
        app.dependency_overrides.update(overrides)

    twin = FastAPI(**options())
    for name, (method, function) in found.items():
        twin.add_api_route(f"/api/{name}", function, methods=[method])
    actions = [
        action(name=name, triggers=WebTrigger(method, f"/api/{name}"))(function)
        for name, (method, function) in found.items()
    ]
    if how == "installed":
        ours: Any = FastAPI(**options())
        Servey(actions=actions, settings=SETTINGS).install(ours)
    else:
        ours = create_app(actions=actions, settings=SETTINGS, **options())
    for app in (twin, ours):
        add_others(app)
        if how == "replaced":
            place = [getattr(route, "path", "") for route in app.routes].index(f"/api/{next(iter(found))}")
            del app.router.routes[place]
    if how == "mounted":
        twin, ours = mounted(twin), mounted(ours)
    paths = [f"/api/{name}" for name in found] + ["/other/route", "/nowhere"]
    text = (
        f"seed {seed}: {how}, {[*found]}, handlers {handled}, {len(middleware)} middleware, overrides {bool(overrides)}"
    )
    return Twins(twin, ours, [("/sub" if how == "mounted" else "") + path for path in paths], text)


def mounted(app: Any) -> FastAPI:
    @asynccontextmanager
    async def hosts(host: Any) -> Any:
        if isinstance(app, Servey):
            async with app.running():
                yield {"k": "host"}
        else:
            yield {"k": "host"}

    host = FastAPI(lifespan=hosts)
    host.mount("/sub", app)
    return host
