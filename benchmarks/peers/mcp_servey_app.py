"""An action that is a route and an agent's tool."""

from dataclasses import dataclass

from servey import MCP_TOOL, WEB_POST, Settings, action, create_app


@dataclass
class Product:
    id: int
    name: str
    price: float


@action(triggers=[WEB_POST, MCP_TOOL])
async def get_product(id: int, name: str) -> Product:
    return Product(id, name, 1.5)


app = create_app(actions=[get_product], settings=Settings())
