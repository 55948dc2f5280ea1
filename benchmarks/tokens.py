"""Measures what a cached token costs: a request with it beside the same request without one."""

from __future__ import annotations

import asyncio
from statistics import median

from benchmarks.cases import Case
from benchmarks.inprocess import answer, run
from servey import WEB_GET, Authorization, ScopeAccessControl, Settings, action, create_app
from servey.testing import token_for


@action(triggers=WEB_GET)
async def hello(name: str) -> str:
    return f"Hello {name}!"


@action(triggers=WEB_GET, access_control=ScopeAccessControl("read"))
async def hello_reader(name: str) -> str:
    return f"Hello {name}!"


def section(rounds: int, times: int) -> list[str]:
    """Lines for the report."""
    found = asyncio.run(_measure(rounds, times))
    none = median(found["without a token"])
    rows = [f"| {name} | {median(each) * 1e6:.1f} | {median(each) / none:.2f} |" for name, each in found.items()]
    return ["## A token", "", "| GET one string | in-process us | of the one without |", "|---|---|---|", *rows, ""]


async def _measure(rounds: int, times: int) -> dict[str, list[float]]:
    app = create_app(
        actions=[hello, hello_reader],
        settings=Settings(env="dev", jwt_secret_key="a-secret-of-more-than-32-bytes-for-this"),
    )
    bearer = token_for(app, Authorization("ada", frozenset({"read"})))
    shown = ((b"authorization", f"Bearer {bearer}".encode()),)
    cases = {
        "without a token": Case("open", "", "GET", "/actions/hello", "name=World"),
        "with a token that was seen before": Case(
            "warm", "", "GET", "/actions/hello-reader", "name=World", headers=shown
        ),
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    async with app.router.lifespan_context(app):
        for case in cases.values():
            status, body = await answer(app, case)
            if (status, body) != (200, b'"Hello World!"'):
                raise RuntimeError(f"{case.path} answers {status} {body!r}")
        for name in [*cases] * rounds:
            found[name].append(await run(app, cases[name], times))
    return found


if __name__ == "__main__":
    print("\n".join(section(9, 2000)))
