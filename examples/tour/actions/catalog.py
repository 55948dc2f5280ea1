"""GraphQL: fields that are loaded only if a query selects them, one by one or in batches."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from shop import PRODUCTS, SHOP, Department, Product

from servey import WEB_GET, BatchInvoker, action


async def average_stars(products: list[int]) -> list[float | None]:
    """Load all of them at once; with a database, in one query."""
    found = [[review.stars for review in SHOP.reviews[product]] for product in products]
    return [sum(stars) / len(stars) if stars else None for stars in found]


@dataclass(frozen=True)
class CatalogEntry:
    """A product in the catalog."""

    product: Product

    @action(batch_invoker=BatchInvoker(average_stars, arg_extractor=lambda entry: [entry.product.id]))
    async def stars(self) -> float | None:
        """Return the average of its reviews. All entries of a query are loaded in one batch."""
        return (await average_stars([self.product.id]))[0]

    @action
    async def similar(self, limit: Annotated[int, Field(ge=1, le=5)] = 2) -> list["CatalogEntry"]:
        """Return other products of the same department."""
        others = [
            CatalogEntry(product)
            for product in PRODUCTS.values()
            if product.department is self.product.department and product.id != self.product.id
        ]
        return others[:limit]


@action(triggers=WEB_GET, tags=("products",))
async def browse(department: Department | None = None) -> list[CatalogEntry]:
    """Return the catalog. In GraphQL, stars and similar products are loaded if they are selected."""
    return [CatalogEntry(product) for product in PRODUCTS.values() if department in (None, product.department)]
