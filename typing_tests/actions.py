"""Type checkers see a decorated action as the function that it is. This file is type-checked, never run."""

from collections.abc import AsyncIterator
from typing import assert_type

from servey import WEB_GET, Authorization, BatchInvoker, Example, FixedRateTrigger, TtlCacheControl, action


@action
def bare(n: int, by: int = 2) -> int:
    return n * by


assert_type(bare(1), int)
assert_type(bare(1, by=3), int)
bare("1")  # E: a str is no int
bare(n=1, times=2)  # E: there is no parameter `times`
bare(1).upper()  # E: the result is an int


@action(triggers=WEB_GET, examples=(Example("one", params={"n": 1}),), cache_control=TtlCacheControl(60), tags=["a"])
async def asynchronous(n: int) -> list[str]:
    return [str(n)]


async def awaits() -> None:
    assert_type(await asynchronous(1), list[str])
    await asynchronous(None)  # E: None is no int
    async for each in streams(3):
        assert_type(each, int)


@action(triggers=[WEB_GET, FixedRateTrigger(5)])
async def streams(n: int) -> AsyncIterator[int]:
    for each in range(n):
        yield each


@action
def guarded(authorization: Authorization | None) -> str:
    return "stranger" if authorization is None else authorization.subject_id or ""


class Node:
    def __init__(self, n: int) -> None:
        self.n = n

    @action(batch_invoker=BatchInvoker(lambda nodes: [node.n + 1 for node in nodes]))
    def following(self) -> int:
        return self.n + 1


assert_type(Node(1).following(), int)
Node(1).following(2)  # E: it has no parameter
action(timeout="long")  # E: seconds are a number
action(cache_control=60)  # E: a cache control
action(scope="x")  # E: there is no argument `scope`
action(access_control="reader")  # E: an access control
Example(params={})  # E: an example has a name
