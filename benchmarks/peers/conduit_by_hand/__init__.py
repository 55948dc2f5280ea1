"""All of examples/conduit by hand: FastAPI, Strawberry and arq. Its REST routes are those of `conduit_fastapi`."""
