"""An app with something to see on every page of the console."""

from pydantic import BaseModel, SecretStr

from servey import (
    MCP_TOOL,
    WEB_GET,
    WEB_POST,
    ActionError,
    Authorization,
    CronTrigger,
    Example,
    Group,
    Retry,
    ScopeAccessControl,
    Servey,
    Settings,
    TtlCacheControl,
    action,
    background_action_channel,
    create_app,
    websocket_event_channel,
)

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
HOSTILE = "<script>alert('job')</script>"
broken = {"is": True}
depot = Group(prefix="/depot", tags=("storage",))


@action(triggers=WEB_POST, retry=Retry(max_tries=1), examples=(Example("one", {"number": 1, "password": "s"}, 1),))
async def deliver(number: int, password: SecretStr | None = None) -> int:
    """Deliver a parcel."""
    if broken["is"]:
        raise ActionError(502, "http_502", f"The carrier does not answer {HOSTILE}" if number % 2 else "No such street")
    return number


@action(triggers=(WEB_POST, CronTrigger("0 3 * * *")))
async def tidy_up() -> str:
    """Remove old parcels."""
    return "tidy"


@action(triggers=(WEB_GET, MCP_TOOL), cache_control=TtlCacheControl(60))
async def weigh(parcel: int = 1) -> int:
    """Weigh a parcel."""
    return parcel * 100


@action(triggers=WEB_GET, access_control=ScopeAccessControl("parcels:read"))
async def whose(authorization: Authorization) -> str | None:
    """Say who calls."""
    return authorization.subject_id


@action(triggers=WEB_GET)
async def repair() -> None:
    """Let deliveries succeed from now on."""
    broken["is"] = False


@depot.action(triggers=WEB_GET)
async def shelves() -> int:
    """Count the shelves."""
    return 12


class Moved(BaseModel):
    """Where a parcel is now."""

    parcel: int
    place: str
    door_secret: str | None = None


parcels = websocket_event_channel("parcels", Moved, history=10, description="Where parcels are.")
unheard = websocket_event_channel("unheard", int, access_control=ScopeAccessControl("parcels:read"))
weighed = background_action_channel(weigh, name="weighed")


def app(**settings: object) -> Servey:
    made = {"env": "dev", "jwt_secret_key": SECRET, "login_password": "open sesame", "api_title": "Parcels", **settings}
    return create_app(
        actions=[deliver, tidy_up, weigh, whose, repair, shelves],
        channels=[parcels, unheard, weighed],
        settings=Settings(**made),  # type: ignore[arg-type]
        version="3.2.1",
    )
