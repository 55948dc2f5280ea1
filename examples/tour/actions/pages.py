"""For people: a page of the products with a form that searches them."""

from shop import PRODUCTS, Product

from servey import WebPageTrigger, action


@action(triggers=WebPageTrigger(), tags=("pages",))
async def shop_window(text: str = "") -> list[Product]:
    """The page `/shop-window`, from `templates/shop_window.j2`."""
    return [product for product in PRODUCTS.values() if text.lower() in product.name.lower()]
