"""The cyclic garbage collector of a process that serves or works."""

from __future__ import annotations

import gc


def keep_start_out_of_collections() -> None:
    """Exclude everything that exists from later collections.

    The modules, models and routes of an app live as long as the process; each full collection would visit all of them, while
    no request is served.
    """
    gc.collect()  # what was garbage at the start would stay
    gc.freeze()
