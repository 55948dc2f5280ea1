"""An app with something to see on every page of the console."""

from pydantic import SecretStr

from servey import (
    MCP_TOOL,
    WEB_GET,
    WEB_POST,
    ActionError,
    Authorization,
    CronTrigger,
    Example,
    Retry,
    ScopeAccessControl,
    Servey,
    Settings,
    TtlCacheControl,
    action,
    create_app,
    websocket_event_channel,
)

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
HOSTILE = "<script>alert('job')</script>"
broken = {"is": True}


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


parcels = websocket_event_channel("parcels", int)


def app(**settings: object) -> Servey:
    made = {"env": "dev", "jwt_secret_key": SECRET, "login_password": "open sesame", "api_title": "Parcels", **settings}
    return create_app(
        actions=[deliver, tidy_up, weigh, whose, repair],
        channels=[parcels],
        settings=Settings(**made),  # type: ignore[arg-type]
        version="3.2.1",
    )
