"""Imports FastAPI's models of OpenAPI documents without building their validators, which only documents need.

Building them takes about a sixth of a cold start. Pydantic builds each of them on its first use instead.
Source: pydantic/_internal/_model_construction.py and pydantic/main.py, 2.11 to 2.14; fastapi/openapi/models.py.
"""

from __future__ import annotations

import sys
from typing import Any

import pydantic
from pydantic import BaseModel

_MODELS = "fastapi.openapi.models"

if "model_rebuild" not in vars(BaseModel) or not isinstance(BaseModel.model_config, dict):
    raise ImportError(
        f"pydantic {pydantic.VERSION} changed BaseModel; install a version that this version of servey supports"
    )


def import_openapi_models() -> None:
    """Import the models, unless FastAPI has been imported before. Call it before anything imports FastAPI."""
    if _MODELS in sys.modules:
        return
    rebuild = BaseModel.__dict__["model_rebuild"]

    def rebuild_if_used(cls: type[BaseModel], /, **options: Any) -> bool | None:
        # FastAPI's module calls it without options at its end, Pydantic with options at the first use of a model.
        done: bool | None = rebuild.__func__(cls, **options) if options else None
        return done

    BaseModel.model_config["defer_build"] = True
    BaseModel.model_rebuild = classmethod(rebuild_if_used)  # type: ignore[assignment,method-assign]
    try:
        __import__(_MODELS)
    finally:
        BaseModel.model_rebuild = rebuild  # type: ignore[method-assign]
        del BaseModel.model_config["defer_build"]
