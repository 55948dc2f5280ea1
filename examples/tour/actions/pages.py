"""A web page: the products, with a search form."""

from shop import PRODUCTS, Product

from servey import WebPageTrigger, action


@action(triggers=WebPageTrigger(), tags=("pages",))
async def shop_window(text: str = "") -> list[Product]:
    """Show the page `/shop-window`, rendered from `templates/shop_window.j2`."""
    return [product for product in PRODUCTS.values() if text.lower() in product.name.lower()]
