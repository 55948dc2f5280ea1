"""The RealWorld example, by hand in FastAPI."""

from benchmarks.peers.conduit_seed import prepare

prepare()

from benchmarks.peers.conduit_fastapi.app import app  # noqa: E402

__all__ = ["app"]
