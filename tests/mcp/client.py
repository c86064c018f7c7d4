"""An MCP client that plays scenarios and prints, as canonical JSON, everything that it got: README.md has them.

What is of nobody's business comes from the environment, as command lines are seen and recorded: BEARER is a token to present,
ARGUMENTS (JSON) those of the scenario `call`.
"""

import argparse
import asyncio
import json
import os
import ssl
import sys

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from wire import Wire


class Play:
    """A client, and what happened to it."""

    def __init__(self, options):
        self._options = options
        self.modern = options.mode == "modern"
        self.results = []
        self._heard = {}
        verify = ssl.create_default_context(cafile=options.ca) if options.ca else True
        self.wire = Wire(verify)

    async def run(self, scenario):
        headers = {"accept-encoding": "identity"}
        if bearer := os.environ.get("BEARER"):
            headers["authorization"] = f"Bearer {bearer}"
        async with httpx2.AsyncClient(transport=self.wire, headers=headers, timeout=60) as http:
            client = Client(
                # All planted values at once make events larger than it takes by default.
                streamable_http_client(self._options.url, http_client=http, max_sse_event_size=None),
                mode="auto" if self.modern else "legacy",
                client_info=types.Implementation(name="portcullis-test-client", version="1.0.0"),
                read_timeout_seconds=self._options.timeout,
                log_level="info",
                elicitation_callback=self._elicited,
                sampling_callback=self._sampled,
                list_roots_callback=self._roots,
                logging_callback=self._ignored,
                message_handler=self._message,
                cache=None,
            )
            async with client:
                self.results.append({"version": client.protocol_version})
                if not self.modern:
                    # A client of this era opens a stream of its own accord, beside everything else.
                    await asyncio.wait_for(self.wire.streaming.wait(), self._options.timeout)
                await scenario(self, client)

    async def step(self, name, call):
        """Makes one call, whose result or error becomes part of what is printed."""
        try:
            result = await call
            shown = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        except MCPError as error:
            shown = {"error": error.error.model_dump(mode="json", exclude_none=True)}
        self.results.append({name: shown})
        return shown

    async def heard(self, method):
        """Waits for a notification."""
        with anyio.fail_after(self._options.timeout):
            await self._heard.setdefault(method, anyio.Event()).wait()

    async def _message(self, message):
        if hasattr(message, "method"):
            self._heard.setdefault(message.method, anyio.Event()).set()

    async def _elicited(self, _context, params):
        if params.mode == "form":
            return types.ElicitResult(action="accept", content={"name": "a tester"})
        action = "accept"
        if self._options.asked:
            print(json.dumps({"url": params.url, "message": params.message}), file=sys.stderr, flush=True)
            action = (await anyio.to_thread.run_sync(sys.stdin.readline)).strip()
        return types.ElicitResult(action=action)

    async def _sampled(self, _context, _params):
        content = types.TextContent(text="an answer of the model")
        return types.CreateMessageResult(role="assistant", content=content, model="test-model", stop_reason="endTurn")

    async def _roots(self, _context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///srv/work", name="work")])

    async def _ignored(self, _params):
        pass


async def hello(_play, _client):
    """Connects and leaves."""


async def tools(play, client):
    """Lists tools and calls each that asks nothing back."""
    listed = await play.step("tools/list", client.list_tools())
    asking = {"ask", "ask_url", "sample", "roots", "slow", "touch", "needs_url"}
    for tool in listed["tools"]:
        if tool["name"] not in asking and not tool["name"].startswith("test_"):
            await play.step(tool["name"], called(client, tool["name"], {"values": play.values}))
    await play.step("echo", called(client, "echo", {"ö": "ü", "list": [1, 2.5, None, True], "deep": {"a": {"b": "c"}}}))
    await play.step("regional", called(client, "regional", {"region": "eu-central ✓"}))
    await play.step("nothing", called(client, "nothing", {}))
    if not play.modern:
        await play.step("needs_url", called(client, "needs_url", {}))


async def offers(play, client):
    """Lists and reads resources, fills templates, gets prompts, completes arguments."""
    cursor, page = None, 0
    while page == 0 or cursor:
        listed = await play.step(f"resources/list {page}", client.list_resources(cursor=cursor))
        for resource in listed["resources"]:
            await play.step(resource["uri"], client.read_resource(resource["uri"]))
        cursor, page = listed.get("nextCursor"), page + 1
    await play.step("templates", client.list_resource_templates())
    numbers = ",".join(str(value) for value in play.values)
    forms = ["prose", "records", "bytes"] if numbers else ["prose", "records"]
    for uri in [f"planted://{form}/{numbers}" for form in forms] + ["note://by-name/ä%20b", "note://nowhere"]:
        await play.step(uri, client.read_resource(uri))
    await play.step("prompts/list", client.list_prompts())
    for name in ("weather", "records", "test_simple_prompt", "nothing"):
        await play.step(name, client.get_prompt(name, {"values": numbers} if name in ("weather", "records") else None))
    for reference, argument in [
        (types.PromptReference(name="weather"), {"name": "city", "value": "pa"}),
        (types.PromptReference(name="weather"), {"name": "values", "value": numbers}),
        (types.ResourceTemplateReference(uri="note://by-name/{name}"), {"name": "name", "value": "p"}),
    ]:
        await play.step("complete", client.complete(reference, argument))


async def records(play, client):
    """Gets planted values of any kind: under names that say what they are, and as bytes."""
    for name in ("json_text", "structured"):
        await play.step(name, called(client, name, {"values": play.values}))
    numbers = ",".join(str(value) for value in play.values)
    for uri in (f"planted://records/{numbers}", f"planted://bytes/{numbers}"):
        await play.step(uri, client.read_resource(uri))
    await play.step("prompt", client.get_prompt("records", {"values": numbers}))


async def questions(play, client):
    """Calls what asks back: with a form, by a URL, the model, for roots."""
    for name in ("ask", "ask_url", "sample", "roots"):
        await play.step(name, called(client, name, {"values": play.values}))


async def news(play, client):
    """Subscribes to changes, has some happen, and hears of them; in the legacy era also pings and sets the log level."""
    if play.modern:
        async with client.listen(
            tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True,
            resource_subscriptions=["note://watched"],
        ) as subscription:
            await play.step("touch", called(client, "touch", {}))
            async for event in subscription:
                play.results.append({"event": type(event).__name__})
                if type(event).__name__ == "PromptsListChanged":
                    break
        return
    await play.step("ping", client.send_ping())
    await play.step("level", client.set_logging_level("info"))
    await play.step("subscribe", client.subscribe_resource("note://watched"))
    await play.step("touch", called(client, "touch", {}))
    await play.heard("notifications/tools/list_changed")
    # Not last: nothing would wait for its answer.
    await client.send_roots_list_changed()
    await play.step("unsubscribe", client.unsubscribe_resource("note://watched"))


async def resume(play, client):
    """Loses a stream in the middle of a call, and comes back for the rest (legacy)."""
    await play.step("test_reconnection", called(client, "test_reconnection", {}))


async def cancel(play, client):
    """Begins a call (of `slow`, or of `--tool NAME`) and gives up on it as soon as it hears of progress."""
    began = anyio.Event()

    async def progressed(*_):
        began.set()

    async with anyio.create_task_group() as group:
        tool, arguments = (play.tool, play.arguments) if play.tool else ("slow", {"seconds": 60})
        group.start_soon(lambda: client.call_tool(tool, arguments, progress_callback=progressed))
        await began.wait()
        group.cancel_scope.cancel()
    # What comes after it on the same session works.
    await play.step("echo", called(client, "echo", {}))


async def slow(play, client):
    """Begins a call that takes long, says so at once, and waits for its end."""

    async def progressed(*_):
        print("began", flush=True)

    await play.step("slow", client.call_tool("slow", {"seconds": 60}, progress_callback=progressed))


async def call(play, client):
    """Calls one tool: `--tool NAME` with ARGUMENTS, after a list with `--list`."""
    if play.list_first:
        await play.step("tools/list", client.list_tools())
    await play.step(play.tool or "echo", called(client, play.tool or "echo", play.arguments))


async def called(client, name, arguments):
    async def progressed(*_):
        pass

    return await client.call_tool(name, arguments, progress_callback=progressed)


ALL = (hello, tools, offers, records, questions, news, resume, cancel, slow, call)
SCENARIOS = {scenario.__name__: scenario for scenario in ALL}


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("scenarios", nargs="+", choices=SCENARIOS)
    parser.add_argument("--mode", choices=["legacy", "modern"], required=True)
    parser.add_argument("--ca", metavar="FILE", help="the only certificates that are trusted")
    parser.add_argument("--values", default="", help="numbers of planted values, with commas")
    parser.add_argument("--tool", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--asked", action="store_true", help="has a person answer what asks to open a URL")
    parser.add_argument("--raw", metavar="FILE", help="where each byte that came is kept")
    parser.add_argument("--timeout", type=float, default=60)
    return parser.parse_args()


async def main():
    chosen = options()
    plays = {}
    for name in chosen.scenarios:
        play = Play(chosen)
        play.values = [int(value) for value in chosen.values.split(",") if value]
        play.arguments = json.loads(os.environ.get("ARGUMENTS", "{}"))
        play.tool, play.list_first = chosen.tool, chosen.list
        failure = None
        try:
            await play.run(SCENARIOS[name])
        except Exception as error:  # Whatever it is, it is part of what this client got.
            failure = told(error)
        plays[name] = {"results": play.results, "failure": failure, "wire": play.wire.transcript()}
        if chosen.raw:
            with open(chosen.raw, "ab") as file:
                file.writelines(play.wire.raw())
    print(json.dumps(plays, indent=1, sort_keys=True, ensure_ascii=False))
    return any(play["failure"] for play in plays.values())


def told(error):
    """An error and those inside of it, in one line."""
    inside = getattr(error, "exceptions", ())
    return f"{type(error).__name__}: {error}" if not inside else "; ".join(told(one) for one in inside)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
