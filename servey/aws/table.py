"""The DynamoDB table of an app: items of texts and numbers, found by ``pk`` and ``sk``, gone after ``expires_at``.

Source: the DynamoDB API reference. DynamoDB removes what has expired days later, so that whoever reads looks at
``expires_at`` as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

from servey.aws.clients import Client, error_code
from servey.settings import Settings

Item: TypeAlias = dict[str, str | float]


class Table:
    """Items of one table. Errors: botocore's own."""

    def __init__(self, name: str, client: Client) -> None:
        self._name = name
        self._client = client

    async def put(self, item: Item, *, unless_newer_than: float | None = None, field: str = "expires_at") -> bool:
        """Writes an item; with a moment only where there is none yet whose ``field`` is at or after it."""
        condition: dict[str, Any] = {}
        if unless_newer_than is not None:
            condition = {
                "ConditionExpression": "attribute_not_exists(pk) OR #field < :moment",
                "ExpressionAttributeNames": {"#field": field},
                "ExpressionAttributeValues": {":moment": _written(unless_newer_than)},
            }
        written = {name: _written(value) for name, value in item.items()}
        try:
            await self._client("put_item", TableName=self._name, Item=written, **condition)
        except Exception as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

    async def get(self, pk: str, sk: str) -> Item | None:
        """An item as it is now; None where there is none."""
        key = {"pk": _written(pk), "sk": _written(sk)}
        found = await self._client("get_item", TableName=self._name, Key=key, ConsistentRead=True)
        return _read(found["Item"]) if "Item" in found else None

    async def delete(self, pk: str, sk: str) -> None:
        """Removes an item, if it is there."""
        await self._client("delete_item", TableName=self._name, Key={"pk": _written(pk), "sk": _written(sk)})

    async def all_of(self, pk: str) -> list[Item]:
        """Every item with this ``pk``."""
        return [item async for page in self._pages("pk", pk) for item in page]

    def of_channel(self, channel: str) -> AsyncIterator[list[Item]]:
        """Every item with this ``channel``, as they were a moment ago, page by page."""
        return self._pages("channel", channel, IndexName="by_channel")

    async def _pages(self, name: str, value: str, **options: Any) -> AsyncIterator[list[Item]]:
        asked: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": "#name = :value",
            "ExpressionAttributeNames": {"#name": name},
            "ExpressionAttributeValues": {":value": _written(value)},
            **options,
        }
        while True:
            found = await self._client("query", **asked)
            yield [_read(item) for item in found["Items"]]
            if "LastEvaluatedKey" not in found:
                return
            asked["ExclusiveStartKey"] = found["LastEvaluatedKey"]


def table_of(settings: Settings) -> Table | None:
    """The table of the settings; None where they name none."""
    return Table(settings.connection_table, Client("dynamodb")) if settings.connection_table else None


def _written(value: str | float) -> dict[str, str]:
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def _read(item: Mapping[str, Mapping[str, str]]) -> Item:
    return {name: value["S"] if "S" in value else float(value["N"]) for name, value in item.items()}
