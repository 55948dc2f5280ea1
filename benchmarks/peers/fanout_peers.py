"""Servers that send one event to many websockets, each as its users would write it: python fanout_peers.py PEER PORT."""

import asyncio
import contextlib
import os
import sys
from typing import Any

from benchmarks.peers.fanout_events import Event, when_told


def fastapi_clients(text_once: bool) -> Any:
    """FastAPI and a set of its sockets."""
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    clients: set[WebSocket] = set()

    async def publish(event: Event) -> None:
        if text_once:
            text = event.model_dump_json()
            for client in tuple(clients):
                await client.send_text(text)
        else:
            for client in tuple(clients):
                await client.send_json(event.model_dump())

    app = FastAPI(lifespan=lambda app: when_told(publish))

    @app.websocket("/subscription/events")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        clients.add(websocket)
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await websocket.receive_text()
        clients.discard(websocket)

    return app


def fastapi_broadcaster() -> Any:
    """FastAPI and Broadcaster, as in Broadcaster's own example."""
    from broadcaster import Broadcast
    from fastapi import FastAPI, WebSocket

    broadcast = Broadcast(os.environ.get("FANOUT_REDIS") or "memory://")

    async def publish(event: Event) -> None:
        await broadcast.publish("events", event.model_dump_json())

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        async with broadcast, when_told(publish):
            yield

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/subscription/events")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        async with broadcast.subscribe("events") as subscriber:
            async for event in subscriber:
                await websocket.send_text(event.message)

    return app


async def websockets_broadcast(port: int) -> None:
    """The `websockets` library's own server, and its `broadcast()`."""
    from websockets.asyncio.server import broadcast, serve

    clients: set[Any] = set()

    async def handle(socket: Any) -> None:
        clients.add(socket)
        await socket.wait_closed()
        clients.discard(socket)

    async def publish(event: Event) -> None:
        broadcast(clients, event.model_dump_json())

    async with serve(handle, "127.0.0.1", port, compression=None), when_told(publish):
        await asyncio.Future()


async def picows(port: int) -> None:
    """picows, which is written in Cython."""
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

    clients: set[WSTransport] = set()

    class Listener(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            clients.add(transport)

        def on_ws_disconnected(self, transport: WSTransport) -> None:
            clients.discard(transport)

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.CLOSE:
                transport.disconnect()

    async def publish(event: Event) -> None:
        payload = event.model_dump_json().encode()
        for client in tuple(clients):
            client.send(WSMsgType.TEXT, payload)

    def listener(request: WSUpgradeRequest) -> Listener:
        return Listener()

    server = await ws_create_server(listener, "127.0.0.1", port)
    async with server, when_told(publish):
        await server.serve_forever()


def main(peer: str, port: int) -> None:
    import uvicorn
    import uvloop

    apps = {
        "send_json": lambda: fastapi_clients(False),
        "send_text": lambda: fastapi_clients(True),
        "broadcaster": fastapi_broadcaster,
    }
    if peer in apps:
        uvicorn.run(apps[peer](), port=port, log_level="warning", ws_ping_interval=None)
    else:
        uvloop.run({"websockets": websockets_broadcast, "picows": picows}[peer](port))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
