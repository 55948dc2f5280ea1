"""An app whose jobs fail for two reasons: for an operator to look after."""

import asyncio

from servey import WEB_POST, ActionError, Context, Retry, Servey, Settings, action, create_app

JOBS, WITHOUT_ADDRESS = 1000, 10
carrier = {"answers": False}


@action(triggers=WEB_POST, retry=Retry(max_tries=2, backoff=0))
async def ship(number: int) -> int:
    """Ship a parcel."""
    if number % (JOBS // WITHOUT_ADDRESS) == 7:
        raise ActionError(422, "no_address", "The parcel has no address")
    if not carrier["answers"]:
        raise ActionError(502, "carrier", "The carrier does not answer")
    return number


@action(triggers=WEB_POST, timeout=60)
async def ship_everything(context: Context) -> None:
    """Enqueue a job for each parcel."""
    for number in range(JOBS):
        await context.enqueue(ship, {"number": number})


@action(triggers=WEB_POST)
async def call_the_carrier() -> None:
    """From now on the carrier answers."""
    carrier["answers"] = True


@action(triggers=WEB_POST, timeout=120)
async def take_stock(context: Context) -> None:
    """Count until somebody cancels it."""
    context.progress(7, 9)
    await asyncio.Event().wait()


def app() -> Servey:
    settings = Settings(jwt_secret_key="a-secret-of-more-than-32-bytes-for-tests", api_title="Depot")
    return create_app(actions=[ship, ship_everything, call_the_carrier, take_stock], settings=settings)
