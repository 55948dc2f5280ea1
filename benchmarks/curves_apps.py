"""The apps of `benchmarks.curves`: the same endpoints of Servey and of FastAPI, as many as asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, WebSocket
from pydantic import BaseModel, create_model

from benchmarks.peers.model import Order, Reading, Receipt, receipt_of


async def greeting() -> str:
    return "Hello"


async def depends(name: str, greeting: Annotated[str, Depends(greeting)]) -> str:
    return f"{greeting} {name}!"


def _fastapi(count: int) -> Any:
    app = FastAPI()

    def add(number: int) -> None:
        if number % 4 == 3 and number != count - 1:

            @app.post(f"/actions/a{number}", name=f"a{number}")
            async def place(order: Annotated[Order, Body()], note: Annotated[str, Body()] = "") -> Receipt:
                return receipt_of(order)

            return

        @app.get(f"/actions/a{number}", name=f"a{number}")
        async def hello(name: str, number: int = number) -> str:
            return f"Hello {name}!"

    for number in range(count):
        add(number)
    app.get("/actions/depends")(depends)

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @app.websocket("/subscription")
    async def subscription(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive()

    return app


def _parts(count: int) -> dict[str, Any]:
    from servey import WEB_GET, WEB_POST, Settings, TtlCacheControl, action, websocket_event_channel

    def made(number: int) -> Any:
        if number % 4 == 3 and number != count - 1:

            @action(triggers=WEB_POST, name=f"a{number}")
            async def place(order: Order, note: str = "") -> Receipt:
                return receipt_of(order)

            return place

        @action(triggers=WEB_GET, name=f"a{number}")
        async def hello(name: str, number: int = number) -> str:
            return f"Hello {name}!"

        return hello

    @action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
    async def cached(name: str) -> str:
        return f"Hello {name}!"

    actions = [*map(made, range(count)), action(triggers=WEB_GET)(depends), cached]
    return {"actions": actions, "channels": [websocket_event_channel("news", str)], "settings": Settings()}


def _servey(count: int) -> Any:
    from servey import create_app

    return create_app(**_parts(count))


def _host(count: int) -> Any:
    from servey import Servey

    host = FastAPI()

    @host.get("/own")
    async def own() -> str:
        return "own"

    Servey(**_parts(count)).install(host)
    return host


MANY: dict[str, Callable[[int], Any]] = {"fastapi": _fastapi, "servey": _servey, "host": _host}


# ----------------------------------------------------------------------------------------------- ten dependencies


def _with_dependencies(number: int) -> Any:
    def dependency(place: int) -> Any:
        async def value() -> int:
            return place

        return value

    async def total(**values: int) -> int:
        return sum(values.values())

    parameters = [
        inspect.Parameter(
            f"p{place}", inspect.Parameter.KEYWORD_ONLY, annotation=int, default=Depends(dependency(place))
        )
        for place in range(10)
    ]
    total.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    total.__annotations__ = {each.name: int for each in parameters} | {"return": int}
    total.__name__ = total.__qualname__ = f"a{number}"
    return total


def _servey_dependencies(count: int) -> Any:
    from servey import WEB_GET, Settings, action, create_app

    actions = [action(triggers=WEB_GET, name=f"a{number}")(_with_dependencies(number)) for number in range(count)]
    return create_app(actions=actions, settings=Settings())


def _fastapi_dependencies(count: int) -> Any:
    app = FastAPI()
    for number in range(count):
        app.get(f"/actions/a{number}")(_with_dependencies(number))
    return app


WITH_DEPENDENCIES: dict[str, Callable[[int], Any]] = {
    "fastapi": _fastapi_dependencies,
    "servey": _servey_dependencies,
}


# -------------------------------------------------------------------------------------------------- linked models


def linked_models(count: int) -> type[BaseModel]:
    """Return one of many models, each of which refers to all the others."""
    names = [f"Linked{number}" for number in range(count)]
    models: dict[str, Any] = {}
    for name in names:
        links: dict[str, Any] = {f"to_{other.lower()}": (f"{other} | None", None) for other in names if other != name}
        models[name] = create_model(name, id=(int, 1), **links)
    for model in models.values():
        model.model_rebuild(_types_namespace=models)
    first: type[BaseModel] = models[names[0]]
    return first


def _servey_returns(model: Any) -> Any:
    from servey import WEB_GET, Settings, action, create_app

    async def linked():  # type: ignore[no-untyped-def]
        return model()

    linked.__annotations__["return"] = model
    return create_app(actions=[action(triggers=WEB_GET)(linked)], settings=Settings())


def _fastapi_returns(model: Any) -> Any:
    app = FastAPI()

    @app.get("/actions/linked", response_model=model)
    async def linked() -> Any:
        return model()

    return app


RETURNS: dict[str, Callable[[Any], Any]] = {"fastapi": _fastapi_returns, "servey": _servey_returns}


# -------------------------------------------------------------------------------------------------- long results


def _readings(count: int) -> tuple[Any, Any]:
    dicts = [{"id": number, "place": f"place {number}", "celsius": number / 7} for number in range(count)]
    made = [Reading.model_validate(each) for each in dicts]

    async def models() -> list[Reading]:
        return made

    async def as_dicts() -> list[Reading]:
        return dicts  # type: ignore[return-value]

    as_dicts.__name__ = "dicts"
    return models, as_dicts


def _servey_items(count: int) -> Any:
    from servey import WEB_GET, Settings, TtlCacheControl, action, create_app

    models, dicts = _readings(count)
    actions = [action(triggers=WEB_GET)(each) for each in (models, dicts)]
    actions.append(action(triggers=WEB_GET, name="cached", cache_control=TtlCacheControl(600))(_readings(count)[0]))
    return create_app(actions=actions, settings=Settings())


def _fastapi_items(count: int) -> Any:
    app = FastAPI()
    for each in _readings(count):
        app.get(f"/actions/{each.__name__}")(each)
    return app


ITEMS: dict[str, Callable[[int], Any]] = {"fastapi": _fastapi_items, "servey": _servey_items}
