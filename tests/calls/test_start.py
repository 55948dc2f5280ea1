"""What the start of an app reads, and what it leaves as it was."""

import gc
import inspect
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends
from fastapi.testclient import TestClient

from servey import WEB_GET, WEB_POST, ConfigError, Settings, action, create_app


class Counted:
    """A dependency that counts how often its signature is read."""

    def __init__(self) -> None:
        self.reads = 0

    @property
    def __signature__(self) -> inspect.Signature:
        self.reads += 1
        parameter = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, annotation=str)
        return inspect.Signature([parameter])

    def __call__(self, name: str) -> str:
        return f"Hello {name}!"


def reads_with(triggers: Any) -> int:
    counted = Counted()

    async def greet(greeting: str = Depends(counted)) -> str:
        return greeting

    app = create_app(actions=[action(triggers=triggers)(greet)], settings=Settings())
    with TestClient(app) as client:
        assert client.get("/actions/greet", params={"name": "Ada"}).json() == "Hello Ada!"
    return counted.reads


def test_a_dependency_is_read_once_for_all_routes_of_an_action() -> None:
    assert reads_with((WEB_GET, WEB_POST)) == reads_with(WEB_GET)


def test_dependencies_with_and_without_parameters_keep_their_order() -> None:
    order: list[str] = []

    def first() -> None:
        order.append("first")

    def second(name: str) -> None:
        order.append(f"second {name}")

    def third() -> Iterator[str]:
        order.append("third")
        yield "third"
        order.append("closed")

    @action(triggers=WEB_GET)
    def run(
        one: Annotated[None, Depends(first)], two: Annotated[None, Depends(second)], three: str = Depends(third)
    ) -> str:
        return three

    with TestClient(create_app(actions=[run], settings=Settings())) as client:
        assert client.get("/actions/run", params={"name": "Ada"}).json() == "third"
    assert order == ["first", "second Ada", "third", "closed"]


def test_a_wrong_annotation_of_a_dependency_without_parameters_is_an_error_at_the_start() -> None:
    def opened() -> "pytest.Nothing":  # type: ignore[name-defined]
        raise AssertionError("not called")

    @action(triggers=WEB_GET)
    def run(given: Annotated[str, Depends(opened)]) -> str:
        return given

    with pytest.raises(ConfigError, match="run.*Nothing"):
        create_app(actions=[run], settings=Settings())


def test_garbage_collections_run_again_after_the_start() -> None:
    @action(triggers=WEB_GET)
    def valid() -> str:
        return "valid"

    @action(triggers=WEB_GET)
    def invalid(untyped) -> str:  # type: ignore[no-untyped-def]
        return "invalid"

    create_app(actions=[valid], settings=Settings())
    assert gc.isenabled()
    with pytest.raises(ConfigError, match="untyped"):
        create_app(actions=[invalid], settings=Settings())
    assert gc.isenabled()
    gc.disable()
    try:
        create_app(actions=[valid], settings=Settings())
        assert not gc.isenabled()
    finally:
        gc.enable()
