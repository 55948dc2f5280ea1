"""The RealWorld example."""

from benchmarks.peers.conduit_seed import prepare

prepare()

from servey.project import load_project  # noqa: E402

app = load_project().app
