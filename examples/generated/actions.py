"""Actions that a function creates, one for each row of a table."""

from collections.abc import Callable

from servey import WEB_GET, Example, action

FACTORS = {"miles_to_km": 1.609344, "pounds_to_kg": 0.45359237, "gallons_to_litres": 3.785411784}


def _converter(name: str, factor: float) -> Callable[[float], float]:
    words = name.replace("_", " ")

    @action(
        name=name,
        description=f"Converts {words}.",
        triggers=WEB_GET,
        examples=(Example("one", {"amount": 1}, round(factor, 3)),),
    )
    def convert(amount: float) -> float:
        return round(amount * factor, 3)

    return convert


CONVERTERS = {name: _converter(name, factor) for name, factor in FACTORS.items()}
globals().update(CONVERTERS)  # actions are discovered by their names in the module
