"""Clients of AWS services: boto3, created on first use and called in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

MAX_CONCURRENCY = 32


class Client:
    """One service: ``await client("send_message", QueueUrl=...)``. Thread-safe.

    ``make`` returns the boto3 client; the default creates one from the process environment.
    """

    def __init__(self, service: str, make: Callable[[], Any] | None = None, **options: Any) -> None:
        self.service = service
        self._make = make or (lambda: _boto3_client(service, options))
        self._lock = threading.Lock()
        self._client: Any = None

    async def __call__(self, method: str, **arguments: Any) -> Any:
        """Call a method of the boto3 client and return its result. Errors: botocore's own."""
        return await asyncio.get_running_loop().run_in_executor(_threads(), self._call, method, arguments)

    def _call(self, method: str, arguments: dict[str, Any]) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make()
        return getattr(self._client, method)(**arguments)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MAX_CONCURRENCY, "servey-aws")


def _boto3_client(service: str, options: dict[str, Any]) -> Any:
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    retries = {"max_attempts": 3, "mode": "standard"}
    config = Config(max_pool_connections=MAX_CONCURRENCY, connect_timeout=3, read_timeout=10, retries=retries)
    return boto3.client(service, config=config, **options)


def error_code(error: Exception) -> str:
    """Return the error code of an AWS error; an empty string for any other exception."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return str(code)


def http_status(error: Exception) -> int:
    """Return the HTTP status of an AWS error; 0 for any other exception."""
    response = getattr(error, "response", None)
    found = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if isinstance(response, dict) else 0
    return int(found)
