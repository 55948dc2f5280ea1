"""Cache control: how long a result stays fresh and for whom, and the HTTP headers that follow from it.

Source: RFC 9110 sections 8.8 and 13 (validators, conditional requests), RFC 9111 sections 4.2 and 5.2 (freshness).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from math import isnan
from typing import Any, Literal, TypeAlias

from servey.core.errors import ConfigError

LONGEST_SECONDS = 2**31
"""The largest age that every HTTP cache has to support (RFC 9111 section 1.2.2)."""


@dataclass(frozen=True)
class TtlCacheControl:
    """A result is fresh for ``ttl`` seconds.

    ``private`` results are cached per caller. With ``server`` the server caches them too, for the same time.
    """

    ttl: float
    private: bool = True
    must_revalidate: bool = False
    server: bool = True

    def __post_init__(self) -> None:
        given: Any = self.ttl
        if isinstance(given, bool) or not isinstance(given, int | float) or isnan(given) or not given > 0:
            raise ConfigError(f"TtlCacheControl({given!r}): use a number of seconds above 0")

    def __str__(self) -> str:
        return f"{self.ttl:g} s, {_whose(self.private)}"


@dataclass(frozen=True)
class SecureHashCacheControl:
    """Clients revalidate a result by its ``ETag``, a strong hash of its bytes."""

    private: bool = True

    def __str__(self) -> str:
        return f"by hash, {_whose(self.private)}"


@dataclass(frozen=True)
class TimestampCacheControl:
    """Clients revalidate a result by its ``Last-Modified``, taken from one of its attributes."""

    updated_at_attr: str = "updated_at"

    def __str__(self) -> str:
        return f"by {self.updated_at_attr}, private"


CacheControl: TypeAlias = TtlCacheControl | SecureHashCacheControl | TimestampCacheControl
CACHE_CONTROLS = (TtlCacheControl, SecureHashCacheControl, TimestampCacheControl)


def _whose(private: bool) -> str:
    return "private" if private else "public"


@dataclass(frozen=True)
class CacheHeader:
    """The caching headers and validators of a response.

    Units: ``last_modified`` and ``expires`` are aware datetimes.
    """

    cache_control: str
    private: bool
    etag: str | None = None
    last_modified: datetime | None = None
    expires: datetime | None = None

    def fields(self) -> dict[str, str]:
        """Return the header fields by lower-case name; they are the same for a 200 and a 304."""
        dates = {"last-modified": self.last_modified, "expires": self.expires}
        fields = {"cache-control": self.cache_control} | ({} if self.etag is None else {"etag": self.etag})
        return fields | {name: http_date(moment) for name, moment in dates.items() if moment is not None}


def cache_header(
    control: CacheControl, value: Any, content: bytes | None, *, now: float, made_at: float | None = None
) -> CacheHeader:
    """Return the caching headers of a result; without ``content`` there is no ``ETag``.

    Units: ``now`` and ``made_at``, the time at which the result was computed (by default now), in seconds since 1970.
    """
    etag = None if content is None else strong_etag(content)
    if isinstance(control, TtlCacheControl):
        age = 0 if made_at is None else max(0.0, now - made_at)
        left = max(0, int(min(control.ttl - age, LONGEST_SECONDS)))
        words = f"{_whose(control.private)}, max-age={left}" + (", must-revalidate" if control.must_revalidate else "")
        return CacheHeader(
            words, control.private, etag, expires=datetime.fromtimestamp(now, UTC) + timedelta(seconds=left)
        )
    if isinstance(control, SecureHashCacheControl):
        return CacheHeader(f"{_whose(control.private)}, no-cache", control.private, etag)
    return CacheHeader("private, no-cache", True, etag, last_modified=_updated_at(control, value, now))


def _updated_at(control: TimestampCacheControl, value: Any, now: float) -> datetime | None:
    """Return the timestamp in the result in whole seconds, or None if it has none. A naive one is read as UTC."""
    name = control.updated_at_attr
    moment = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    if not isinstance(moment, datetime):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        # RFC 9110 section 8.8.2.1: never later than the response itself.
        return min(aware.astimezone(UTC), datetime.fromtimestamp(now, UTC)).replace(microsecond=0)
    except OverflowError:
        return None


def strong_etag(content: bytes) -> str:
    """Return a quoted hash of some bytes, the same in every process."""
    return f'"{sha256(content).hexdigest()[:32]}"'


# ---------------------------------------------------------------------------------------------- conditional requests

Precondition: TypeAlias = Literal["met", "not modified", "failed"]


def precondition(header: CacheHeader, request: Mapping[str, str], *, now: float) -> Precondition:
    """Evaluate the preconditions of a GET or HEAD, in the order of RFC 9110 section 13.2.2.

    Shape: ``request`` has the request's header fields by lower-case name; repeated ones are joined by ``, ``.
    """
    if "if-match" in request:
        if not _contains_tag(request["if-match"], header.etag, weakly=False):
            return "failed"
    elif "if-unmodified-since" in request and header.last_modified is not None:
        since = parse_http_date(request["if-unmodified-since"], now)
        if since is not None and header.last_modified > since:
            return "failed"
    if "if-none-match" in request:
        return "not modified" if _contains_tag(request["if-none-match"], header.etag, weakly=True) else "met"
    return "not modified" if not_modified_since(header, request.get("if-modified-since"), now) else "met"


def not_modified_since(header: CacheHeader, field: str | None, now: float) -> bool:
    """Return whether the client's copy is current by its ``If-Modified-Since``."""
    if field is None or header.last_modified is None:
        return False
    since = parse_http_date(field, now)
    return since is not None and header.last_modified <= since


_ENTITY_TAG = re.compile(r'(?:^|,)[ \t]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')


def _contains_tag(field: str, etag: str | None, *, weakly: bool) -> bool:
    """Return whether a list of entity tags contains this one; malformed members are ignored.

    Source: RFC 9110 sections 8.8.3.2 (comparison), 13.1.1, 13.1.2.
    """
    if field.strip(" \t") == "*":
        return True
    return etag is not None and any(tag == etag and (weakly or not weak) for weak, tag in _ENTITY_TAG.findall(field))


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_DATES = (
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
    rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
)
_NO_DATE_YEAR = 9999


def parse_http_date(field: str, now: float) -> datetime | None:
    """Parse a date in one of HTTP's three formats. Return None for anything else and for the year 9999, which some
    programs send to mean "no date".

    Source: RFC 9110 section 5.6.7.
    """
    found = next((match for form in _DATES if (match := re.fullmatch(form, field.strip(" \t")))), None)
    if found is None:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        # A two-digit year is at most 50 years in the future.
        this_year = datetime.fromtimestamp(now, UTC).year
        year += this_year // 100 * 100
        year -= 100 if year > this_year + 50 else 0
    if year >= _NO_DATE_YEAR:
        return None
    month = _MONTHS.index(found["month"]) + 1
    second = int(found["second"]) - (found["second"] == "60")  # a leap second
    try:
        return datetime(year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), second, tzinfo=UTC)
    except ValueError:
        return None


def http_date(moment: datetime) -> str:
    """Format a datetime as an HTTP date."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)
