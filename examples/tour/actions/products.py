"""Reading data: query strings, path parameters, triggers, tools of agents, examples, an error, a method, a stream."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from shop import PRODUCTS, Department, Product, ProductId

from servey import MCP_TOOL, WEB_GET, Example, NotFound, WebTrigger, action

Price = Annotated[Decimal, Field(ge=0, le=1000)]


@action(
    triggers=(WEB_GET, MCP_TOOL),
    tags=("products",),
    examples=(
        # Shown in the API docs, and run as a test through every transport.
        Example("greet_developer", params={"name": "Developer"}, result="Hello Developer!"),
    ),
)
def say_hello(name: str) -> str:
    """Greet a visitor of the shop."""
    return f"Hello {name}!"


@dataclass(frozen=True)
class PriceRange:
    least: Price = Decimal(0)
    most: Price = Decimal(1000)


ANY_PRICE = PriceRange()


@action(triggers=(WEB_GET, WebTrigger("POST", "/products/search"), MCP_TOOL), tags=("products",))
async def search_products(
    text: str = "", departments: list[Department] | None = None, price: PriceRange = ANY_PRICE
) -> list[Product]:
    """Find products.

    In a query string `?departments=books&departments=garden&price.most=50`, in a body
    `{"departments": ["books", "garden"], "price": {"most": 50}}`.
    """
    return [
        product
        for product in PRODUCTS.values()
        if text.lower() in product.name.lower()
        and (not departments or product.department in departments)
        and price.least <= product.price <= price.most
    ]


@action(triggers=(WebTrigger("GET", "/products/{product_id}"), MCP_TOOL), tags=("products",))
async def get_product(product_id: ProductId) -> Product:
    """Return a product by its number in the path."""
    return PRODUCTS[product_id]


@action(
    triggers=WebTrigger("GET", "/departments/{name}/cheapest"),
    tags=("products",),
    examples=(
        Example("cheap_garden", params={"name": "garden"}, result=PRODUCTS[4], include_in_schema=False),
        Example("too_cheap", params={"name": "garden", "under": "5"}, error="not_found"),
    ),
)
async def cheapest_of(name: Department, under: Price | None = None) -> Product:
    """Return the cheapest product of a department."""
    found = [
        product
        for product in PRODUCTS.values()
        if product.department is name and (under is None or product.price < under)
    ]
    if not found:
        raise NotFound(f"Nothing in {name} costs less than {under}")
    return min(found, key=lambda product: product.price)


@action(triggers=WEB_GET, tags=("products",))
async def export_products() -> AsyncIterator[Product]:
    """Stream all products."""
    for product in PRODUCTS.values():
        yield product


@dataclass
class Basket:
    products: Annotated[list[ProductId], Field(max_length=100)]

    @action(triggers=WebTrigger("POST"), tags=("products",))
    def total(self, discount_percent: Annotated[int, Field(ge=0, le=50)] = 0) -> Decimal:
        """Return the price of a basket. The method is an action; clients send its object as `self`."""
        full = sum((PRODUCTS[number].price for number in self.products), Decimal(0))
        return (full * (100 - discount_percent) / 100).quantize(Decimal("0.01"))


@action(triggers=WEB_GET, tags=("products",))
def make_basket(products: Annotated[list[ProductId], Field(max_length=100)]) -> Basket:
    """Create a basket of these products."""
    return Basket(products)
