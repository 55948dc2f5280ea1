"""GraphQL: fields that are only fetched where a query asks for them, alone and in batches."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from shop import PRODUCTS, SHOP, Department, Product

from servey import WEB_GET, BatchInvoker, action


async def average_stars(products: list[int]) -> list[float | None]:
    """One look-up for all of them; a database would get one query."""
    found = [[review.stars for review in SHOP.reviews[product]] for product in products]
    return [sum(stars) / len(stars) if stars else None for stars in found]


@dataclass(frozen=True)
class CatalogEntry:
    """A product among others."""

    product: Product

    @action(batch_invoker=BatchInvoker(average_stars, arg_extractor=lambda entry: [entry.product.id]))
    async def stars(self) -> float | None:
        """What its reviews say, on average. All entries of a query are asked for together."""
        return (await average_stars([self.product.id]))[0]

    @action
    async def similar(self, limit: Annotated[int, Field(ge=1, le=5)] = 2) -> list["CatalogEntry"]:
        """Others of the same department."""
        others = [
            CatalogEntry(product)
            for product in PRODUCTS.values()
            if product.department is self.product.department and product.id != self.product.id
        ]
        return others[:limit]


@action(triggers=WEB_GET, tags=("products",))
async def browse(department: Department | None = None) -> list[CatalogEntry]:
    """The catalog; in GraphQL with stars and similar products, where they are asked for."""
    return [CatalogEntry(product) for product in PRODUCTS.values() if department in (None, product.department)]
