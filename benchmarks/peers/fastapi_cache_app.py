"""FastAPI with the decorator of fastapi-cache2."""

from fastapi import FastAPI
from fastapi_cache import FastAPICache
from fastapi_cache.backends.inmemory import InMemoryBackend
from fastapi_cache.decorator import cache

app = FastAPI()
FastAPICache.init(InMemoryBackend())


@app.get("/actions/ttl")
@cache(expire=3600)
async def ttl(name: str) -> str:
    return f"Hello {name}!"
