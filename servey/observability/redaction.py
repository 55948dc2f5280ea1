"""Parameters of actions as text for people, without secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import PydanticUserError

if TYPE_CHECKING:
    from servey.core.actions import Action

HIDDEN = "•••"


def shown_params(action: Action, params: Any) -> str:
    """Return the parameters of an action by wire name as JSON, with every secret replaced.

    Of parameters without a JSON schema only the names are shown, and of values that are not JSON only their types.
    """
    try:
        schema = action.params_schema
    except PydanticUserError:
        return hidden_params(params)
    shown = without_secrets(params, schema, schema.get("$defs", {}))
    return json.dumps(shown, indent=2, ensure_ascii=False, default=_type_name, skipkeys=True)


def hidden_params(params: Any) -> str:
    """Return the names of parameters as JSON."""
    return json.dumps(
        dict.fromkeys(params, HIDDEN) if isinstance(params, Mapping) else HIDDEN, indent=2, ensure_ascii=False
    )


def _type_name(value: Any) -> str:
    return f"<{type(value).__name__}>"


def without_secrets(value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """Return a value with every secret of its JSON schema replaced."""
    if "$ref" in schema:
        schema = definitions.get(str(schema["$ref"]).rpartition("/")[2], {})
    if schema.get("writeOnly") or schema.get("format") == "password":
        return HIDDEN
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        value = without_secrets(value, choice, definitions)
    if isinstance(value, Mapping):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        known = {name: properties.get(name, others if isinstance(others, Mapping) else {}) for name in value}
        return {name: without_secrets(each, known[name], definitions) for name, each in value.items()}
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [without_secrets(each, schema["items"], definitions) for each in value]
    return value
