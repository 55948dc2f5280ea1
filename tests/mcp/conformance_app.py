"""The actions that the scenarios of the official conformance suite use, by the names that it expects."""

import asyncio
import base64
from typing import Any

from starlette.responses import Response

from servey import ActionError, Context, McpTrigger, Servey, Settings, action, create_app

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


ACTIONS = [
    simple_text, image, audio, file, fail, with_progress, static_text, templated, simple_prompt, prompt_with_arguments,
    prompt_with_resource, prompt_with_image,
]  # fmt: skip


def app() -> Servey:
    return create_app(actions=ACTIONS, settings=Settings(env="dev"))
