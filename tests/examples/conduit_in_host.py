"""The Conduit example, installed into a FastAPI app; served in the folder of the example."""

from app import lifespan, servey_app
from fastapi import FastAPI

api = FastAPI(lifespan=lifespan)


@api.get("/hosts-own")
def hosts_own() -> str:
    return "yes"


servey_app.install(api)
