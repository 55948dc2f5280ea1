"""The settings of GraphQL, MCP and event channels."""

from typing import Literal

from pydantic import Field

from servey.core.settings.group import Names, SettingsGroup


class TransportSettings(SettingsGroup):
    """GraphQL, MCP and event channels."""

    graphql_path: str = Field(
        "/graphql", pattern=r"^/[^\s{}?#]*[^/\s{}?#]$", description="the path of the GraphQL endpoint"
    )
    graphql_max_depth: int = Field(15, ge=1, description="maximum depth of a GraphQL operation")
    graphql_max_aliases: int = Field(
        30, ge=0, description="maximum number of aliases and repeated fields in a GraphQL document"
    )
    graphql_max_tokens: int = Field(2000, ge=1, description="maximum number of tokens in a GraphQL document")
    graphql_max_nodes: int = Field(
        10_000,
        ge=1,
        description="maximum number of objects in the response to a GraphQL operation, and of calls of methods",
    )
    graphql_concurrency: int | None = Field(
        None, ge=1, description="how many fields of one GraphQL operation run at once; 1 runs them one after another"
    )
    graphql_max_batch: int = Field(
        1, ge=1, description="maximum number of GraphQL operations in one request; send several as a list"
    )
    graphql_max_operations: int = Field(
        100, ge=1, description="maximum number of open operations on one GraphQL websocket"
    )
    mcp: Literal["declared", "web", "off"] = Field(
        "declared",
        description="which actions agents can use over MCP: those with an McpTrigger, or with web triggers too",
    )
    mcp_tags: Names = Field(
        (),
        description="tags of actions, or of their groups: those with a web trigger are tools without SERVEY_MCP=web too",
    )
    mcp_path: str = Field("/mcp", pattern=r"^/[^\s{}?#]*[^/\s{}?#]$", description="the path of the MCP endpoint")
    mcp_lists: Literal["callable", "all"] = Field(
        "callable", description="what MCP lists: what the caller's access rules allow, or everything"
    )
    mcp_max_listed: int = Field(50, ge=1, description="with more tools, MCP lists two that search and call them")
    channel_connections: int = Field(
        10_000, ge=1, description="maximum number of open websockets, event streams and MCP listeners in one process"
    )
    channel_per_socket: int = Field(
        128, ge=1, description="maximum number of channels that one websocket may subscribe to"
    )
    channel_frame_bytes: int = Field(1 << 16, ge=128, description="maximum size of a frame from a websocket client")
    channel_queue: int = Field(
        1000, ge=1, description="maximum number of events queued for one subscriber; a slower one is disconnected"
    )
    channel_queue_bytes: int = Field(1 << 20, ge=1, description="maximum size of the events queued for one subscriber")
    channel_idle: float = Field(60, gt=0, description="how long a websocket without subscriptions stays open")
    channel_ping: float = Field(15, gt=0, description="seconds of silence before an event stream sends a ping")
