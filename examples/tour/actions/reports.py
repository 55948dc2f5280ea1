"""Work that takes its time: blocking functions, streams, uploads."""

import asyncio
import csv
import hashlib
import io
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import UploadFile
from pydantic import Field
from shop import PRODUCTS, Product

from servey import WEB_GET, WEB_POST, ActionError, action


@action(triggers=WEB_GET, timeout=5, tags=("reports",))
def checksum(rounds: Annotated[int, Field(ge=1, le=20_000)] = 1000) -> str:
    """A plain `def` that computes: it runs in a worker thread, and other calls are answered meanwhile."""
    digest = b"".join(product.name.encode() for product in PRODUCTS.values())
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


@action(triggers=WEB_GET, blocking=False, tags=("reports",))
def stock_value() -> str:
    """A plain `def` that is over at once and may run in place, which saves the way to a thread."""
    return str(sum(product.price for product in PRODUCTS.values()))


@action(triggers=WEB_GET, tags=("reports",))
async def count_down(
    start: Annotated[int, Field(ge=0, le=50)] = 5, pause: Annotated[float, Field(ge=0, le=1)] = 0
) -> AsyncIterator[int]:
    """A stream: server-sent events for `Accept: text/event-stream`, else JSON lines; lines on the command line."""
    for number in range(start, -1, -1):
        yield number
        await asyncio.sleep(pause)


@action(triggers=WEB_GET, tags=("reports",))
async def export_products() -> AsyncIterator[Product]:
    """Every product, one after the other."""
    for product in PRODUCTS.values():
        yield product


@action(triggers=WEB_POST, max_body_bytes=64 * 1024, tags=("reports",))
async def check_price_list(file: UploadFile, strict: bool = False) -> dict[str, str]:
    """Read an uploaded CSV of `name,price`; the other parameters come as fields of the same form."""
    try:
        text = (await file.read()).decode()
        rows = {row[0]: row[1] for row in csv.reader(io.StringIO(text)) if len(row) == 2}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ActionError(400, "not_csv", "The file is no CSV text") from error
    if strict and not rows:
        raise ActionError(400, "empty", "The file has no rows of name,price")
    return rows
