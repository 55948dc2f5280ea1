"""Actions: what a function's decorator says, and what follows from its signature."""

from servey.core.actions.decorator import action
from servey.core.actions.examples import BatchInvoker, Example
from servey.core.actions.facts import Action, filled_inside, get_action
from servey.core.actions.groups import Group

__all__ = ["Action", "BatchInvoker", "Example", "Group", "action", "filled_inside", "get_action"]
