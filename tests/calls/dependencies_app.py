"""Dependencies that log their order, for tests."""

from collections.abc import AsyncIterator
from typing import Any

from servey import Settings

DEV = Settings(env="dev")
LOG: list[str] = []


def _logged(name: str) -> Any:
    async def opened() -> AsyncIterator[str]:
        LOG.append(f"{name} open")
        try:
            yield name
        except BaseException as error:
            LOG.append(f"{name} sees {type(error).__name__}")
            raise
        finally:
            LOG.append(f"{name} close")

    return opened


outer, inner, brief = _logged("outer"), _logged("inner"), _logged("brief")
