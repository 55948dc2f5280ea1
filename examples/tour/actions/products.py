"""Plain reading: query strings, path parameters, an example that is documentation and test at once, a method."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from shop import PRODUCTS, Department, Product, ProductId

from servey import WEB_GET, Example, NotFound, WebTrigger, action

GREETING = Example(
    name="greet_developer",
    description="Say hello to the developer",
    params={"name": "Developer"},
    result="Hello Developer!",
)


@action(triggers=WEB_GET, examples=(GREETING,), tags=("products",))
def say_hello(name: str) -> str:
    """Greet a visitor of the shop."""
    return f"Hello {name}!"


@dataclass
class PriceRange:
    least: Annotated[Decimal, Field(ge=0, le=1000)] = Decimal(0)
    most: Annotated[Decimal, Field(ge=0, le=1000)] = Decimal(1000)


ALL_PRICES = PriceRange()


@action(triggers=WEB_GET, tags=("products",))
async def search_products(
    text: str = "",
    departments: list[Department] | None = None,
    price: PriceRange = ALL_PRICES,
) -> list[Product]:
    """Find products: `?text=a&departments=books&departments=garden&price.most=50`."""
    return [
        product
        for product in PRODUCTS.values()
        if text.lower() in product.name.lower()
        and (not departments or product.department in departments)
        and price.least <= product.price <= price.most
    ]


@action(triggers=WebTrigger("GET", "/products/{product_id}"), tags=("products",))
async def get_product(product_id: ProductId) -> Product:
    """One product, by its number in the path."""
    return PRODUCTS[product_id]


@action(triggers=WebTrigger("GET", "/departments/{name}/cheapest"), tags=("products",))
async def cheapest_of(name: Department, under: Annotated[Decimal, Field(gt=0, le=10_000)] = Decimal(10_000)) -> Product:
    """The cheapest product of a department; an error of its own where there is none under that price."""
    found = [each for each in PRODUCTS.values() if each.department is name and each.price < under]
    if not found:
        raise NotFound(f"Nothing in {name} costs less than {under}")
    return min(found, key=lambda product: product.price)


@dataclass
class Basket:
    products: list[ProductId]

    @action(triggers=WebTrigger("POST"), tags=("products",))
    def total(self, discount_percent: Annotated[int, Field(ge=0, le=50)] = 0) -> Decimal:
        """What the basket costs: a method is an action, its object comes as `self`."""
        full = sum((PRODUCTS[number].price for number in self.products), Decimal(0))
        return (full * (100 - discount_percent) / 100).quantize(Decimal("0.01"))


@action(triggers=WEB_GET, tags=("products",))
def make_basket(products: list[ProductId]) -> Basket:
    """A basket of these products."""
    return Basket(products)
