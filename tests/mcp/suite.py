"""What the conformance suite asks of every server: names and words are the suite's own."""

import asyncio
import json
import re

import mcp_types as types
from mcp.shared.message import ServerMessageMetadata

from shapes import PNG, WAV, text

RESOURCES = [
    types.Resource(uri="test://static-text", name="static-text", description="A text", mime_type="text/plain"),
    types.Resource(uri="test://static-binary", name="static-binary", description="An image", mime_type="image/png"),
    types.Resource(uri="test://watched-resource", name="watched", description="A text", mime_type="text/plain"),
]
TEMPLATES = [types.ResourceTemplate(uri_template="test://template/{id}/data", name="template", description="A record")]
PROMPTS = [
    types.Prompt(name="test_simple_prompt", description="A prompt"),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="A prompt with arguments",
        arguments=[types.PromptArgument(name=name, description="An argument", required=True) for name in ("arg1", "arg2")],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A prompt with a resource",
        arguments=[types.PromptArgument(name="resourceUri", description="A resource", required=True)],
    ),
    types.Prompt(name="test_prompt_with_image", description="A prompt with an image"),
]


def read(uri):
    """The contents of one of the suite's resources, or `None`."""
    if uri in ("test://static-text", "test://watched-resource"):
        content = "This is the content of the static text resource."
        return [types.TextResourceContents(uri=uri, mime_type="text/plain", text=content)]
    if uri == "test://static-binary":
        return [types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)]
    if asked := re.fullmatch("test://template/([^/]+)/data", uri):
        record = {"id": asked[1], "templateTest": True, "data": f"Data for ID: {asked[1]}"}
        return [types.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(record))]
    return None


def prompt(name, arguments):
    """The messages of one of the suite's prompts, or `None`."""
    match name:
        case "test_simple_prompt":
            contents = [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            contents = [text(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")]
        case "test_prompt_with_embedded_resource":
            resource = types.TextResourceContents(
                uri=arguments["resourceUri"], mime_type="text/plain", text="Embedded resource content for testing."
            )
            contents = [types.EmbeddedResource(resource=resource), text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            contents = [types.ImageContent(data=PNG, mime_type="image/png"), text("Please analyze the image above.")]
        case _:
            return None
    return [types.PromptMessage(role="user", content=content) for content in contents]


def add(tools):
    """Adds the suite's tools."""
    for method in (test_simple_text, test_image_content, test_audio_content, test_embedded_resource,
                   test_multiple_content_types, test_tool_with_logging, test_error_handling, test_tool_with_progress,
                   test_sampling, test_elicitation, test_elicitation_sep1034_defaults, test_elicitation_sep1330_enums,
                   test_reconnection, json_schema_2020_12_tool):
        tools.add(method)
    tools.add(json_schema_2020_12_tool).input_schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
        },
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
        "additionalProperties": False,
    }


def result(*content, **more):
    return types.CallToolResult(content=list(content), **more)


async def test_simple_text(_ctx, _params, _arguments):
    """A text."""
    return result(text("This is a simple text response for testing."))


async def test_image_content(_ctx, _params, _arguments):
    """An image."""
    return result(types.ImageContent(data=PNG, mime_type="image/png"))


async def test_audio_content(_ctx, _params, _arguments):
    """A sound."""
    return result(types.AudioContent(data=WAV, mime_type="audio/wav"))


async def test_embedded_resource(_ctx, _params, _arguments):
    """A resource."""
    content = "This is an embedded resource content."
    resource = types.TextResourceContents(uri="test://embedded-resource", mime_type="text/plain", text=content)
    return result(types.EmbeddedResource(resource=resource))


async def test_multiple_content_types(_ctx, _params, _arguments):
    """All of these."""
    resource = types.TextResourceContents(
        uri="test://mixed-content-resource", mime_type="application/json", text='{"test":"data","value":123}'
    )
    image = types.ImageContent(data=PNG, mime_type="image/png")
    return result(text("Multiple content types test:"), image, types.EmbeddedResource(resource=resource))


async def test_tool_with_logging(ctx, _params, _arguments):
    """Log messages."""
    for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.session.send_log_message("info", said, None, ctx.request_id)
        await asyncio.sleep(0.05)
    return result(text("Logged"))


async def test_error_handling(_ctx, _params, _arguments):
    """An error."""
    return result(text("This tool intentionally returns an error for testing"), is_error=True)


async def test_tool_with_progress(ctx, _params, _arguments):
    """Progress."""
    for progress in (0, 50, 100):
        await ctx.session.report_progress(progress, 100)
        await asyncio.sleep(0.05)
    return result(text("Progressed"))


async def test_sampling(ctx, _params, arguments):
    """A question to the model."""
    message = types.SamplingMessage(role="user", content=text(arguments.get("prompt", "")))
    asked = types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=100))
    given = await ask(ctx, asked, types.CreateMessageResult)
    return result(text(f"LLM response: {given.content.text}"))


async def test_elicitation(ctx, _params, arguments):
    """A question to the person."""
    word = {"type": "string", "description": "User's response"}
    fields = {"username": word, "email": word}
    given = await elicit(ctx, arguments.get("message", ""), fields, required=["username", "email"])
    return result(text(f"User response: action={given.action}, content={json.dumps(given.content)}"))


async def test_elicitation_sep1034_defaults(ctx, _params, _arguments):
    """Defaults of a form."""
    given = await elicit(ctx, "Defaults", {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    })
    return result(text(f"Elicitation completed: action={given.action}, content={json.dumps(given.content)}"))


async def test_elicitation_sep1330_enums(ctx, _params, _arguments):
    """Choices of a form."""
    titled = [{"const": f"value{number}", "title": title} for number, title in enumerate(("First", "Second", "Third"), 1)]
    options = ["option1", "option2", "option3"]
    given = await elicit(ctx, "Choices", {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    })
    return result(text(f"Elicitation completed: action={given.action}, content={json.dumps(given.content)}"))


async def test_reconnection(ctx, _params, _arguments):
    """A stream that is closed in the middle of a call."""
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(0.1)
    return result(text("Reconnected"))


async def json_schema_2020_12_tool(_ctx, _params, _arguments):
    """A schema of many words."""
    return result(text("fine"))


async def elicit(ctx, message, properties, required=()):
    schema = {"type": "object", "properties": properties, "required": list(required)}
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return await ask(ctx, types.ElicitRequest(params=params), types.ElicitResult)


async def ask(ctx, question, answer):
    """Asks in the middle of a call: the suite speaks the legacy era."""
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    return await ctx.session.send_request(question, answer, metadata=related)
