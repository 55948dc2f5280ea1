"""Large inputs: a stream that reports progress, and an upload."""

import asyncio
import csv
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated

from fastapi import UploadFile
from pydantic import Field, ValidationError
from shop import SHOP, ProductId, Review

from servey import WEB_POST, ActionError, WebTrigger, action


@action(triggers=WebTrigger("GET", "/products/{product_id}/reviews"), tags=("reviews",))
async def reviews_of(product_id: ProductId) -> list[Review]:
    """Return the latest reviews of a product."""
    return list(SHOP.reviews[product_id])


@dataclass(frozen=True)
class Progress:
    done: int
    total: int


@action(triggers=WEB_POST, tags=("reviews",))
async def import_reviews(
    reviews: Annotated[list[Review], Field(min_length=1, max_length=20)],
) -> AsyncIterator[Progress]:
    """Import reviews, and report the progress after each one.

    Server-sent events for `Accept: text/event-stream`, else a line of JSON each.
    """
    for done, review in enumerate(reviews, start=1):
        await asyncio.sleep(0.005)  # a real shop would write to its database
        SHOP.reviews[review.product].append(review)
        yield Progress(done, len(reviews))


@dataclass
class Upload:
    taken: int = 0
    refused_lines: list[int] = field(default_factory=list)


@action(triggers=WEB_POST, max_body_bytes=16 * 1024, tags=("reviews",))
async def upload_reviews(file: UploadFile, written_on: date | None = None) -> Upload:
    """Import a CSV file of `product,stars,text`. The other parameters are fields of the same form."""
    try:
        rows = list(csv.reader((await file.read()).decode().splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ActionError(400, "not_csv", "The file is no CSV text in UTF-8") from error
    upload = Upload()
    for line, row in enumerate(rows, start=1):
        try:
            fields = dict(zip(("product", "stars", "text"), row, strict=True))
            review = Review.model_validate({**fields, "written_on": written_on})
        except (ValueError, ValidationError):
            upload.refused_lines.append(line)
        else:
            SHOP.reviews[review.product].append(review)
            upload.taken += 1
    return upload
