"""One action on several transports, and a page that calls it."""

from servey import WEB_GET, Example, WebPageTrigger, action


@action(
    triggers=(WEB_GET, WebPageTrigger()),
    examples=(Example("greet_developer", params={"name": "Developer"}, result="Hello Developer!"),),
)
def say_hello(name: str = "World") -> str:
    """Greet a user!"""
    return f"Hello {name}!"


@action(triggers=WebPageTrigger(path="/"))
def index() -> list[str]:
    """Names for the index page."""
    return ["World", "Ada", "Grace"]
