"""The DynamoDB table of an app: items of strings and numbers with the keys ``pk`` and ``sk``, deleted after ``expires_at``.

DynamoDB deletes expired items up to some days late, so readers must compare ``expires_at`` with the time too.
Source: the DynamoDB API reference.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

from servey.aws.clients import Client, error_code
from servey.core.settings import Settings

Item: TypeAlias = dict[str, str | float]


class Table:
    """Items of one table. Errors: botocore's own."""

    def __init__(self, name: str, client: Client) -> None:
        self._name = name
        self._client = client

    async def put(self, item: Item, *, unless_newer_than: float | None = None, field: str = "expires_at") -> bool:
        """Write an item and return whether it was written.

        With ``unless_newer_than``, write only if no item exists whose ``field`` is at or after that time.
        """
        condition: dict[str, Any] = {}
        if unless_newer_than is not None:
            condition = {
                "ConditionExpression": "attribute_not_exists(pk) OR #field < :moment",
                "ExpressionAttributeNames": {"#field": field},
                "ExpressionAttributeValues": {":moment": _encoded(unless_newer_than)},
            }
        encoded = {name: _encoded(value) for name, value in item.items()}
        try:
            await self._client("put_item", TableName=self._name, Item=encoded, **condition)
        except Exception as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

    async def get(self, pk: str, sk: str) -> Item | None:
        """Return the current item (a consistent read), or None if there is none."""
        key = {"pk": _encoded(pk), "sk": _encoded(sk)}
        found = await self._client("get_item", TableName=self._name, Key=key, ConsistentRead=True)
        return _decoded(found["Item"]) if "Item" in found else None

    async def delete(self, pk: str, sk: str) -> None:
        """Delete an item, if it exists."""
        await self._client("delete_item", TableName=self._name, Key={"pk": _encoded(pk), "sk": _encoded(sk)})

    async def all_of(self, pk: str) -> list[Item]:
        """Return every item with this ``pk``."""
        return [item async for page in self._pages("pk", pk) for item in page]

    def of_channel(self, channel: str) -> AsyncIterator[list[Item]]:
        """Yield every item with this ``channel``, page by page (an eventually consistent read)."""
        return self._pages("channel", channel, IndexName="by_channel")

    async def _pages(self, name: str, value: str, **options: Any) -> AsyncIterator[list[Item]]:
        request: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": "#name = :value",
            "ExpressionAttributeNames": {"#name": name},
            "ExpressionAttributeValues": {":value": _encoded(value)},
            **options,
        }
        while True:
            found = await self._client("query", **request)
            yield [_decoded(item) for item in found["Items"]]
            if "LastEvaluatedKey" not in found:
                return
            request["ExclusiveStartKey"] = found["LastEvaluatedKey"]


def table_of(settings: Settings) -> Table | None:
    """Return the table that the settings name, or None if they name none."""
    return Table(settings.connection_table, Client("dynamodb")) if settings.connection_table else None


def _encoded(value: str | float) -> dict[str, str]:
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def _decoded(item: Mapping[str, Mapping[str, str]]) -> Item:
    return {name: value["S"] if "S" in value else float(value["N"]) for name, value in item.items()}
