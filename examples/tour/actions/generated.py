"""Actions may be made by a function, as many as there are departments."""

from shop import PRODUCTS, Department

from servey import WEB_GET, action


def _count_action(department: Department):
    @action(name=f"count_{department}", triggers=WEB_GET, tags=("generated",))
    async def count() -> int:
        return sum(product.department is department for product in PRODUCTS.values())

    return count


count_books = _count_action(Department.books)
count_garden = _count_action(Department.garden)
count_kitchen = _count_action(Department.kitchen)
