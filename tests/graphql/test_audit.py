"""The public audit of GraphQL over HTTP: every check of the npm package graphql-http must pass."""

import json

import pytest

from tests.graphql.graphql_client import SECRET
from tests.graphql.npm import installed, run_node
from tests.serving import serve

SCRIPT = """
const { serverAudits } = require("graphql-http");
(async () => {
  const results = [];
  for (const audit of serverAudits({ url: process.argv[2], fetchFn: fetch })) {
    const result = await audit.fn();
    results.push({ name: audit.name, status: result.status, reason: result.reason });
  }
  console.log(JSON.stringify(results));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_graphql_http_audit_passes(tmp_path_factory):
    folder = installed(tmp_path_factory, "graphql-http-audit", "graphql-http@1.23.1", "graphql@16.11.0")
    with serve("tests.graphql.served:app", factory=True, JWT_SECRET_KEY=SECRET) as server:
        done = run_node(folder, SCRIPT, f"http://127.0.0.1:{server.port}/graphql")
        assert done.returncode == 0, done.stderr + server.log.read_text(encoding="utf-8")
    results = json.loads(done.stdout)
    assert len(results) >= 58
    assert [each for each in results if each["status"] != "ok"] == []
