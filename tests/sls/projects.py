"""Sample projects, as files."""

HELLO = {
    "actions.py": """
from servey import WEB_GET, action


@action(triggers=WEB_GET)
def say_hello(name: str) -> str:
    return f"Hello {name}!"
"""
}

FULL = {
    "actions.py": """
from servey import WEB_GET, WEB_POST, CronTrigger, FixedRateTrigger, Retry, ScopeAccessControl, WebTrigger, action


@action(triggers=(WEB_GET, FixedRateTrigger(120)))
def tick() -> None: ...


@action(triggers=CronTrigger("*/15 6-8 * * MON-FRI"))
def report() -> None: ...


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
def guarded(number: int) -> int:
    return number


@action(retry=Retry(max_tries=7), timeout=60)
def resize(width: int) -> int:
    return width


@action(triggers=WebTrigger("GET", "/files/{path:path}"))
def file(path: str) -> str:
    return path
""",
    "event_channels.py": """
from actions import resize
from servey import background_action_channel, websocket_event_channel

messenger = websocket_event_channel("messenger", str)
resized = background_action_channel(resize, name="resized", delay=10)
""",
}

GENERATED = {
    "actions.py": """
from servey import WEB_GET, action


def _generate(action_name: str):
    @action(name=action_name, triggers=WEB_GET)
    def my_action() -> str:
        return f"action_name was {action_name}"

    return my_action


generated_1 = _generate("generated_1")
generated_2 = _generate("generated_2")


@action(triggers=WEB_GET)
def plain() -> str:
    return "plain"
"""
}

SITE = {
    **HELLO,
    "static_site/index.html": "<h1>Hello</h1>",
    "static_site/404.html": "<h1>Nothing here</h1>",
}

EXAMPLES = {"hello": HELLO, "full": FULL, "generated": GENERATED, "site": SITE}


def sixty_actions() -> dict[str, str]:
    begin = "from servey import WEB_GET, action\n"
    each = "\n\n@action(triggers=WEB_GET)\ndef action_{0}() -> int:\n    return {0}\n"
    return {"actions.py": begin + "".join(each.format(number) for number in range(60))}
