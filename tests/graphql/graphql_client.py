"""A GraphQL client for an app under test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from servey import Settings, create_app
from servey.graphql.schema.sdl import sdl_of
from servey.testing import client, token_for

SECRET = "a-secret-of-more-than-32-bytes-for-tests"


def app_of(*actions, channels=(), **settings):
    return create_app(
        actions=list(actions),
        channels=list(channels),
        settings=Settings(**{"env": "dev", "jwt_secret_key": SECRET} | settings),
    )


def schema_of(*actions, **settings) -> str:
    return sdl_of(app_of(*actions, **settings).runtime)


class GraphQLClient:
    """A client of one app; ``last`` is the last HTTP response."""

    def __init__(self, app: Any, http: Any) -> None:
        self.app, self.http, self.last = app, http, None

    def __call__(self, query: str, variables: dict | None = None, *, caller: Any = None, **headers: str) -> dict:
        if caller is not None:
            headers["authorization"] = f"Bearer {token_for(self.app, caller)}"
        body = {"query": query} | ({"variables": variables} if variables is not None else {})
        self.last = self.http.post("/graphql", json=body, headers=headers)
        return self.last.json()

    def data(self, query: str, variables: dict | None = None, **more: Any) -> Any:
        response = self(query, variables, **more)
        assert "errors" not in response, response["errors"]
        return response["data"]

    def error(self, query: str, variables: dict | None = None, **more: Any) -> dict:
        """Return the first error, with its code as a top-level key."""
        response = self(query, variables, **more)
        return {
            **response["errors"][0],
            "code": response["errors"][0]["extensions"]["code"],
            "data": response.get("data"),
        }


@contextmanager
def graphql_client(*actions, channels=(), **settings) -> Iterator[GraphQLClient]:
    app = app_of(*actions, channels=channels, **settings)
    with client(app) as http:
        yield GraphQLClient(app, http)
