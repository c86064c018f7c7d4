"""Resources, templates, prompts and completions."""

import base64
import json
import re

import mcp_types as types
from mcp.shared.exceptions import MCPError

import suite
from shapes import PNG, text

PAGE = 3


class Offers:
    """What there is beside tools. URIs like `planted://prose/1,2` and prompts with an argument `values` hold planted values."""

    def __init__(self, planted):
        self._planted = planted
        self._subscribed = set()
        self._resources = [
            types.Resource(uri="note://plain", name="plain", description="A note", mime_type="text/plain"),
            types.Resource(uri="note://data", name="data", description="A record", mime_type="application/json"),
            types.Resource(uri="note://picture", name="picture", description="A picture", mime_type="image/png"),
            types.Resource(uri="note://watched", name="watched", description="A note that changes", mime_type="text/plain"),
            *suite.RESOURCES,
        ]
        self._templates = [
            types.ResourceTemplate(uri_template="planted://{form}/{values}", name="planted", description="Planted values"),
            types.ResourceTemplate(uri_template="note://by-name/{name}", name="by-name", description="A note by its name"),
            *suite.TEMPLATES,
        ]
        values = types.PromptArgument(name="values", description="numbers of planted values, with commas", required=False)
        city = types.PromptArgument(name="city", description="Where", required=False)
        self._prompts = [
            types.Prompt(name="weather", description="How the weather is", arguments=[city, values]),
            types.Prompt(name="records", description="Records", arguments=[values]),
            *suite.PROMPTS,
        ]

    async def list_resources(self, _ctx, params):
        begin = int(params.cursor) if params and params.cursor else 0
        more = str(begin + PAGE) if begin + PAGE < len(self._resources) else None
        return types.ListResourcesResult(resources=self._resources[begin : begin + PAGE], next_cursor=more)

    async def list_templates(self, _ctx, _params):
        return types.ListResourceTemplatesResult(resource_templates=self._templates)

    async def list_prompts(self, _ctx, _params):
        return types.ListPromptsResult(prompts=self._prompts)

    async def read(self, _ctx, params):
        uri = str(params.uri)
        contents = suite.read(uri) or self._read(uri)
        if contents is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no resource {uri}")
        return types.ReadResourceResult(contents=contents)

    def _read(self, uri):
        if uri in ("note://plain", "note://watched") or uri.startswith("note://by-name/"):
            return [types.TextResourceContents(uri=uri, mime_type="text/plain", text=f"This is {uri}.")]
        if uri == "note://data":
            return [types.TextResourceContents(uri=uri, mime_type="application/json", text='{"answer": 42}')]
        if uri == "note://picture":
            return [types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)]
        asked = re.fullmatch(r"planted://(prose|records|bytes)/([0-9,]*)", uri)
        if asked is None:
            return None
        numbers = numbered(asked[2])
        if asked[1] == "prose":
            return [types.TextResourceContents(uri=uri, mime_type="text/plain", text=self._planted.passage(numbers))]
        if asked[1] == "records":
            records = json.dumps(self._planted.records(numbers))
            return [types.TextResourceContents(uri=uri, mime_type="application/json", text=records)]
        blobs = [base64.b64encode(self._planted.raw(number)).decode() for number in numbers]
        return [types.BlobResourceContents(uri=uri, mime_type="application/x-thing", blob=blob) for blob in blobs]

    async def subscribe(self, _ctx, params):
        self._subscribed.add(str(params.uri))
        return types.EmptyResult()

    async def unsubscribe(self, _ctx, params):
        self._subscribed.discard(str(params.uri))
        return types.EmptyResult()

    async def get_prompt(self, _ctx, params):
        arguments = params.arguments or {}
        if (messages := suite.prompt(params.name, arguments)) is not None:
            return types.GetPromptResult(messages=messages)
        numbers = numbered(arguments.get("values", ""))
        described = "Records"
        if params.name == "weather":
            described = self._planted.passage(numbers)
            said = f"How is the weather in {arguments.get('city', 'town')}? {self._planted.passage(numbers)}"
            messages = [types.PromptMessage(role="user", content=text(said))]
        elif params.name == "records":
            records = json.dumps(self._planted.records(numbers))
            resource = types.TextResourceContents(uri="note://data", mime_type="application/json", text=records)
            messages = [
                types.PromptMessage(role="user", content=types.EmbeddedResource(resource=resource)),
                types.PromptMessage(role="assistant", content=types.ImageContent(data=PNG, mime_type="image/png")),
            ]
        else:
            raise MCPError(types.INVALID_PARAMS, f"there is no prompt {params.name!r}")
        return types.GetPromptResult(description=described, messages=messages)

    async def complete(self, _ctx, params):
        if params.argument.name == "values":
            values = [self._planted.text(number) for number in numbered(params.argument.value)]
        else:
            cities = ["paris", "park", "party", "porto"]
            values = [city for city in cities if city.startswith(params.argument.value)]
        return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


def numbered(listed):
    return [int(number) for number in listed.split(",") if number]
