"""By hand in FastAPI, with a cache of verified tokens."""

import time
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from benchmarks.peers.model import SECRET, Caller

app = FastAPI()
KEPT: dict[str, dict[str, float | str]] = {}


async def caller(shown: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> Caller:
    claims = KEPT.get(shown.credentials)
    if claims is None or float(claims["exp"]) < time.time():
        try:
            claims = jwt.decode(shown.credentials, SECRET, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            raise HTTPException(401, "Not authenticated") from None
        if len(KEPT) < 4096:
            KEPT[shown.credentials] = claims
    return Caller(sub=str(claims["sub"]))


@app.get("/actions/who")
async def who(caller: Annotated[Caller, Depends(caller)]) -> Caller:
    return caller
