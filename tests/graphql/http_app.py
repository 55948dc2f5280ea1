"""Actions for tests of GraphQL over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from servey import WEB_GET, WEB_POST, action


@dataclass
class Node:
    value: int

    @action
    async def next(self) -> "Node":
        return Node(self.value + 1)

    @action
    async def children(self, count: int = 10) -> list["Node"]:
        return [Node(number) for number in range(count)]


@action(triggers=WEB_GET)
async def node(value: int = 0) -> Node | None:
    return Node(value)


@action(triggers=WEB_GET)
async def nodes(count: int) -> list[Node] | None:
    return [Node(number) for number in range(count)]


@action(triggers=WEB_POST)
async def change(value: int) -> int:
    return value


@action(triggers=WEB_GET)
async def count(upto: int) -> AsyncIterator[Node]:
    for number in range(upto):
        yield Node(number)
    if upto == 3:
        raise RuntimeError("secret")


ACTIONS = (node, nodes, change, count)
