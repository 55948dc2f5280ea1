"""Starlette's form parser without copying files that stay in memory.

Starlette writes each part of a body to a temporary file that is in memory up to a limit. A file that arrives whole is kept
as the bytes that the parser cut out instead: to write them to a new buffer takes longer than to parse the body.

Source: starlette/formparsers.py and starlette/requests.py, 1.8 to 1.10; tempfile.SpooledTemporaryFile, Python 3.11 to 3.14.
"""

from __future__ import annotations

import io
from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from typing import Any

import starlette.requests
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Receive, Scope

_requests: Any = starlette.requests

with SpooledTemporaryFile(max_size=1) as _file:
    _CAN_SHARE = {"_file", "_rolled", "_max_size"} <= set(vars(_file))
_OWN = {name: vars(MultiPartParser)[name] for name in ("parse", "on_part_data")}

if not hasattr(_requests, "MultiPartParser"):
    raise ImportError(
        f"starlette {starlette.__version__} changed its form parser; "
        "install a version of starlette that this version of servey supports"
    )


def request_with_form(scope: Scope, receive: Receive, form: FormData) -> Request:
    """Return a request whose URL-encoded body was read as this form, as it is after `Request.form`."""
    request = Request(scope, receive)
    request._form = form
    request._stream_consumed = True
    return request


async def parsed_multipart(request: Request) -> FormData:
    """Return the form of a multipart request, as `Request.form` does. Errors: HTTPException 400 for a malformed form."""
    # A tool or a test may have put another parser in place.
    is_own = _requests.MultiPartParser is MultiPartParser and all(
        vars(MultiPartParser)[name] is method for name, method in _OWN.items()
    )
    if not (_CAN_SHARE and is_own) or request._form is not None:
        return await request.form()
    try:
        async with aclosing(request.stream()) as stream:
            form = request._form = await _Parser(request.headers, stream).parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error
    return form


class _Parser(MultiPartParser):
    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        upload, queued = self._current_part.file, self._file_parts_to_write
        is_first = upload is not None and not upload.size and not (queued and queued[-1][0] is self._current_part)
        file: Any = upload.file if is_first and upload is not None else None
        is_temporary = file.__class__ is SpooledTemporaryFile
        if not (is_temporary and not file._rolled and 0 < end - start <= file._max_size):
            super().on_part_data(data, start, end)
            return
        assert upload is not None
        upload.size = end - start
        file._file = io.BytesIO(data[start:end])
        file.seek(0, io.SEEK_END)
