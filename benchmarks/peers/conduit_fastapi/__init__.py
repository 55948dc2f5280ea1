"""The REST API of examples/conduit in plain FastAPI; tables and bodies are those of the example."""
