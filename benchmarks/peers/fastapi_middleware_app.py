"""By hand in FastAPI, with a user's middleware."""

from fastapi import FastAPI

from benchmarks.peers.fastapi_app import hello
from benchmarks.peers.middleware import Stamp

app = FastAPI()
app.add_middleware(Stamp)
app.get("/actions/hello")(hello)
