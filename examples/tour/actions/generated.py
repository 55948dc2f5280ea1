"""Actions that a function creates: one for each department."""

from collections.abc import Awaitable, Callable

from shop import PRODUCTS, Department

from servey import WEB_GET, action


def _counting(department: Department) -> Callable[[], Awaitable[int]]:
    @action(
        name=f"count_{department}",
        description=f"How many products there are in {department}.",
        triggers=WEB_GET,
        tags=("generated",),
    )
    async def count() -> int:
        return sum(product.department is department for product in PRODUCTS.values())

    return count


count_books = _counting(Department.books)
count_garden = _counting(Department.garden)
count_kitchen = _counting(Department.kitchen)
