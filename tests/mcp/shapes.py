"""Tools: one for each thing that the result of a call can be or bring with it.

Most take `values`, the numbers of planted values that their answers are to hold.
"""

import asyncio
import base64
import json
import secrets

import mcp_types as types
from mcp.server.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPError, UrlElicitationRequiredError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

# One red point, and a second of nothing.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
WAV = base64.b64encode(b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\x08\0\0\0" + bytes(8)).decode()

VALUES = {"type": "array", "items": {"type": "integer"}, "description": "numbers of planted values"}


def text(string):
    return types.TextContent(text=string)


class Tools:
    """All tools, by name, with what tests change of them."""

    def __init__(self, planted, bus):
        self._planted = planted
        self._bus = bus
        self._states = set()
        self._tools = {}
        self._calls = {}
        self._level = None
        self.guarded = "Restarts a service."
        self.slow_calls = []
        for method in (self.text, self.json_text, self.structured, self.image, self.audio, self.link, self.embedded,
                       self.blobs, self.failing, self.broken, self.needs_url, self.progressing, self.ask, self.ask_url,
                       self.sample, self.roots, self.slow, self.touch, self.restart, self.regional, self.echo):
            self.add(method)
        self._tools["structured"].output_schema = {
            "type": "object",
            "properties": {"items": {"type": "array", "items": {"type": "object"}}, "total": {"type": "integer"}},
            "required": ["items", "total"],
        }
        self._tools["regional"].input_schema["properties"]["region"] = {"type": "string", "x-mcp-header": "Region"}

    def add(self, method, **arguments):
        """Adds a tool by the method that answers it; its first line says what it does."""
        schema = {"type": "object", "properties": {"values": VALUES, **arguments}}
        tool = types.Tool(name=method.__name__, description=method.__doc__, input_schema=schema)
        self._tools[tool.name] = tool
        self._calls[tool.name] = method
        return tool

    async def list(self, _ctx, _params):
        self._tools["restart"].description = self.guarded
        return types.ListToolsResult(tools=list(self._tools.values()))

    async def call(self, ctx, params):
        if params.name not in self._calls:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}")
        return await self._calls[params.name](ctx, params, params.arguments or {})

    async def set_level(self, _ctx, params):
        self._level = params.level
        return types.EmptyResult()

    async def roots_changed(self, _ctx, _params):
        pass

    async def text(self, _ctx, _params, arguments):
        """Text."""
        values = arguments.get("values", [])
        return types.CallToolResult(content=[text(self._planted.passage([value])) for value in values] or [text("fine")])

    async def json_text(self, _ctx, _params, arguments):
        """JSON in a text."""
        records = self._planted.records(arguments.get("values", []))
        return types.CallToolResult(content=[text(json.dumps({"items": records}, indent=2))])

    async def structured(self, _ctx, _params, arguments):
        """Structured content, and the same as text."""
        records = self._planted.records(arguments.get("values", []))
        content = {"items": records, "total": len(records)}
        return types.CallToolResult(content=[text(json.dumps(content))], structured_content=content)

    async def image(self, _ctx, _params, _arguments):
        """An image, with annotations."""
        notes = types.Annotations(audience=["user"], priority=0.5)
        return types.CallToolResult(content=[types.ImageContent(data=PNG, mime_type="image/png", annotations=notes)])

    async def audio(self, _ctx, _params, _arguments):
        """A sound."""
        return types.CallToolResult(content=[types.AudioContent(data=WAV, mime_type="audio/wav")])

    async def link(self, _ctx, _params, arguments):
        """Links to resources."""
        described = self._planted.passage(arguments.get("values", []))
        link = types.ResourceLink(uri="note://plain", name="plain", description=described, mime_type="text/plain")
        return types.CallToolResult(content=[link])

    async def embedded(self, _ctx, _params, arguments):
        """Resources in the answer: as prose and as JSON."""
        values = arguments.get("values", [])
        prose = types.TextResourceContents(uri="note://prose", mime_type="text/plain", text=self._planted.passage(values))
        records = json.dumps(self._planted.records(values))
        data = types.TextResourceContents(uri="note://data", mime_type="application/json", text=records)
        return types.CallToolResult(content=[types.EmbeddedResource(resource=prose), types.EmbeddedResource(resource=data)])

    async def blobs(self, _ctx, _params, arguments):
        """Binary resources in the answer: bytes, and texts that are encoded like bytes."""
        values = arguments.get("values", [])
        content = []
        for mime_type, data in [
            ("application/octet-stream", b"".join(self._planted.raw(value) for value in values)),
            ("text/plain", self._planted.passage(values).encode()),
            ("application/json", json.dumps(self._planted.records(values)).encode()),
        ]:
            blob = types.BlobResourceContents(uri="note://blob", mime_type=mime_type, blob=base64.b64encode(data).decode())
            content.append(types.EmbeddedResource(resource=blob))
        return types.CallToolResult(content=content)

    async def failing(self, _ctx, _params, arguments):
        """A result that is an error."""
        said = f"It failed. {self._planted.passage(arguments.get('values', []))}"
        return types.CallToolResult(content=[text(said)], is_error=True)

    async def broken(self, _ctx, _params, arguments):
        """An error of the protocol, with data."""
        values = arguments.get("values", [])
        data = {"records": self._planted.records(values), "trace": self._planted.passage(values)}
        raise MCPError(types.INVALID_PARAMS, f"It broke. {self._planted.passage(values)}", data)

    async def needs_url(self, ctx, _params, _arguments):
        """An error that says where to go first."""
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(types.INVALID_PARAMS, "there is no such error any more")
        there = types.ElicitRequestURLParams(message="Go there first", url="https://example.test/go", elicitation_id="go-1")
        raise UrlElicitationRequiredError([there])

    async def progressing(self, ctx, _params, arguments):
        """Progress and log messages before the result."""
        values = arguments.get("values", [])
        for step in range(3):
            await ctx.session.report_progress(step, 3, f"step {step}: {self._planted.passage(values)}")
            data = {"step": step, "records": self._planted.records(values), "said": self._planted.passage(values)}
            await ctx.session.send_log_message("info", data, "progressing", ctx.request_id)
        return types.CallToolResult(content=[text("done")])

    async def ask(self, ctx, params, arguments):
        """Asks the person with a form."""
        schema = {"type": "object", "properties": {"name": {"type": "string", "default": "somebody"}}, "required": ["name"]}
        message = f"Who are you? {self._planted.passage(arguments.get('values', []))}"
        question = types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))
        return await self._question(ctx, params, question, types.ElicitResult)

    async def ask_url(self, ctx, params, arguments):
        """Asks the person by a URL."""
        message = f"Open this. {self._planted.passage(arguments.get('values', []))}"
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        where = types.ElicitRequestURLParams(
            message=message, url="https://example.test/ask", elicitation_id=None if modern else "ask-1"
        )
        return await self._question(ctx, params, types.ElicitRequest(params=where), types.ElicitResult)

    async def sample(self, ctx, params, arguments):
        """Asks the client's model."""
        said = f"Say something. {self._planted.passage(arguments.get('values', []))}"
        message = types.SamplingMessage(role="user", content=text(said))
        asked = types.CreateMessageRequestParams(messages=[message], max_tokens=10, system_prompt=said)
        return await self._question(ctx, params, types.CreateMessageRequest(params=asked), types.CreateMessageResult)

    async def roots(self, ctx, params, _arguments):
        """Asks for the client's roots."""
        return await self._question(ctx, params, types.ListRootsRequest(), types.ListRootsResult)

    async def _question(self, ctx, params, question, answer):
        """Puts a question to the client and repeats its answer: in the middle of the call in the legacy era, by a result
        that says what is missing, and a second call, in the modern one."""
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            related = ServerMessageMetadata(related_request_id=ctx.request_id)
            given = await ctx.session.send_request(question, answer, metadata=related)
        elif not params.input_responses:
            state = f"state-{secrets.token_hex(16)}"
            self._states.add(state)
            return types.InputRequiredResult(input_requests={"answer": question}, request_state=state)
        else:
            if params.request_state not in self._states:
                raise MCPError(types.INVALID_PARAMS, "that state is not one of this server's")
            self._states.discard(params.request_state)
            given = params.input_responses["answer"]
        shown = given.model_dump(mode="json", by_alias=True, exclude_none=True)
        shown.pop("_meta", None)
        return types.CallToolResult(content=[text(f"The answer: {json.dumps(shown, sort_keys=True)}")])

    async def slow(self, ctx, _params, arguments):
        """Says that it began, and takes `seconds`."""
        call = {"number": len(self.slow_calls), "state": "running"}
        self.slow_calls.append(call)
        call["state"] = "cancelled"
        await ctx.session.report_progress(0, 1, "began")
        await asyncio.sleep(arguments.get("seconds", 60))
        call["state"] = "done"
        return types.CallToolResult(content=[text("slow, and done")])

    async def touch(self, ctx, _params, arguments):
        """Changes a resource, which its subscribers hear of."""
        uri = arguments.get("uri", "note://watched")
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            for event in (ResourceUpdated(uri=uri), ResourcesListChanged(), PromptsListChanged()):
                await self._bus.publish(event)
        else:
            await ctx.session.send_resource_updated(uri)
            await ctx.session.send_resource_list_changed()
            await ctx.session.send_prompt_list_changed()
            await ctx.session.send_tool_list_changed()
        return types.CallToolResult(content=[text("touched")])

    async def restart(self, _ctx, _params, arguments):
        """Restarts a service."""
        return types.CallToolResult(content=[text(f"restarted {arguments.get('service', 'nothing')}")])

    async def regional(self, _ctx, _params, arguments):
        """Takes an argument that stands in a header too."""
        return types.CallToolResult(content=[text(f"in {arguments.get('region', 'no region')}")])

    async def echo(self, _ctx, _params, arguments):
        """Repeats its arguments."""
        return types.CallToolResult(content=[text(json.dumps(arguments, sort_keys=True))])
