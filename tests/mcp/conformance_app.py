"""The actions that the scenarios of the official conformance suite use, by the names that it expects."""

import asyncio
import base64
import logging
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from servey import MCP_TOOL, ActionError, Context, McpTrigger, Servey, Settings, action, create_app

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)


@action(triggers=McpTrigger(name="test_simple_text"))
async def simple_text() -> str:
    """Return a text."""
    return "This is a simple text response for testing."


@action(triggers=[McpTrigger(name="test_image_content"), McpTrigger("resource", uri="test://static-binary")])
async def image() -> Response:
    """Return an image."""
    return Response(PNG, media_type="image/png")


@action(triggers=McpTrigger(name="test_audio_content"))
async def audio() -> Response:
    """Return a sound."""
    return Response(b"RIFF", media_type="audio/wav")


@action(triggers=McpTrigger(name="test_embedded_resource"))
async def file() -> Response:
    """Return a file."""
    return Response(b"%PDF", media_type="application/pdf")


@action(triggers=McpTrigger(name="test_error_handling"))
async def fail() -> None:
    """Fail."""
    raise ActionError(409, "conflict", "This tool intentionally returns an error for testing")


@action(triggers=McpTrigger(name="test_tool_with_progress"))
async def with_progress(context: Context) -> str:
    """Report progress."""
    for done in (0, 50, 100):
        context.progress(done, 100)
        await asyncio.sleep(0.15)
    return "done"


@action(triggers=McpTrigger("resource", uri="test://static-text"))
async def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


@action(triggers=McpTrigger("resource", uri="test://template/{id}/data"))
async def templated(id: str) -> dict[str, Any]:
    """Data by id."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


@action(triggers=McpTrigger("prompt", name="test_simple_prompt"))
async def simple_prompt() -> str:
    """A prompt."""
    return "This is a simple prompt for testing."


@action(triggers=McpTrigger("prompt", name="test_prompt_with_arguments"))
async def prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@action(triggers=McpTrigger("prompt", name="test_prompt_with_embedded_resource"))
async def prompt_with_resource(resourceUri: str) -> list[Any]:
    """A prompt with a resource."""
    resource = {"uri": resourceUri, "mimeType": "text/plain", "text": "Embedded resource content for testing."}
    return [{"role": "user", "content": {"type": "resource", "resource": resource}}, "Please process it."]


@action(triggers=McpTrigger("prompt", name="test_prompt_with_image"))
async def prompt_with_image() -> list[Any]:
    """A prompt with an image."""
    image = {"type": "image", "data": base64.b64encode(PNG).decode(), "mimeType": "image/png"}
    return [{"role": "user", "content": image}, "Please analyze the image above."]


@dataclass
class Name:
    name: str


@dataclass
class Color:
    color: str


@dataclass
class Ok:
    ok: bool


@dataclass
class Topic:
    context: str


@action(
    triggers=[
        McpTrigger(name="test_input_required_result_elicitation"),
        McpTrigger(name="test_streaming_elicitation"),
        McpTrigger(name="test_missing_capability"),
        McpTrigger(name="test_input_required_result_tampered_state"),
    ]
)
async def ask_name(context: Context) -> str:
    """Ask for a name."""
    answer = context.ask(Name, "What is your name?")
    return f"Hello, {answer.name}!" if answer else "Hello!"


@action(triggers=McpTrigger(name="test_input_required_result_request_state"))
async def confirm(context: Context) -> str:
    """Ask for confirmation."""
    answer = context.ask(Ok, "Please confirm")
    return "state-ok" if answer and answer.ok else "not confirmed"


@action(triggers=McpTrigger(name="test_input_required_result_multi_round"))
async def ask_twice(context: Context) -> str:
    """Ask two questions."""
    name = context.ask(Name, "Step 1: What is your name?")
    color = context.ask(Color, "Step 2: What is your favorite color?")
    return f"{name} {color}"


@action(triggers=McpTrigger("prompt", name="test_input_required_result_prompt"))
async def prompt_that_asks(context: Context) -> str:
    """A prompt that asks for its topic."""
    return f"Write about {context.ask(Topic, 'What context should the prompt use?')}"


@action(triggers=McpTrigger(name="test_logging_tool"))
async def logs() -> str:
    """Write a line to the server's log."""
    logging.getLogger("servey").info("test_logging_tool runs")
    return "done"


@action(triggers=MCP_TOOL)
async def greet(name: str) -> str:
    """Greet."""
    return f"Hello, {name}!"


@action(triggers=McpTrigger(task=True))
async def slow_compute(seconds: float, label: str = "") -> str:
    """Compute for some seconds."""
    await asyncio.sleep(seconds)
    return f"{label} done"


@action(triggers=McpTrigger(task=True))
async def failing_job() -> None:
    """Fail after a while."""
    await asyncio.sleep(0.1)
    raise ActionError(409, "conflict", "This job always fails")


ACTIONS = [
    simple_text, image, audio, file, fail, with_progress, static_text, templated, simple_prompt, prompt_with_arguments,
    prompt_with_resource, prompt_with_image, ask_name, confirm, ask_twice, prompt_that_asks, logs, greet, slow_compute,
    failing_job,
]  # fmt: skip


def app() -> Servey:
    return create_app(actions=ACTIONS, settings=Settings(env="dev"))
