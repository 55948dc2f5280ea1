"""The same tool in FastMCP, stateless and with JSON responses."""

from dataclasses import dataclass

from fastmcp import FastMCP

server = FastMCP("products")


@dataclass
class Product:
    id: int
    name: str
    price: float


@server.tool
async def get_product(id: int, name: str) -> Product:
    return Product(id, name, 1.5)


app = server.http_app(path="/mcp", stateless_http=True, json_response=True)
