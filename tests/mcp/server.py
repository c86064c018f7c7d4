"""An MCP server with everything that an answer can look like, and a hand on its controls: README.md has both.

It speaks both eras of the protocol (Streamable HTTP up to 2025-11-25, and 2026-07-28), over HTTP or TLS, and keeps
everything in memory. It prints where it is in one line of JSON, and then answers commands from standard input.
"""

import argparse
import asyncio
import json
import socket
import sys
import threading

import uvicorn
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

import offers
import shapes
import suite
from planted import Planted


class Events(EventStore):
    """What was sent on the streams of a legacy session, for clients that come back with `Last-Event-ID`."""

    def __init__(self):
        self._sent = []

    async def store_event(self, stream_id, message):
        self._sent.append((stream_id, message))
        return f"event-{len(self._sent)}"

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id.removeprefix("event-"))
        stream = self._sent[last - 1][0]
        for number, (of, message) in enumerate(self._sent[last:], start=last + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, f"event-{number}"))
        return stream


class Watched:
    """The app, with a note of each request that reaches it, behind a token where one is required."""

    def __init__(self, app, bearer):
        self._app = app
        self._bearer = bearer
        self.requests = []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        seen = {"method": scope["method"], "path": scope["path"], "headers": headers, "body": ""}
        self.requests.append(seen)

        async def watched():
            event = await receive()
            seen["body"] += event.get("body", b"").decode("utf-8", "replace")
            return event

        if self._bearer is not None and headers.get("authorization") != f"Bearer {self._bearer}":
            refused = PlainTextResponse("no token, or another", 401, {"www-authenticate": "Bearer"})
            return await refused(scope, receive, send)
        return await self._app(scope, watched, send)


def server(planted, bus):
    """The MCP server: what is in `shapes`, `offers` and `suite`."""
    tools = shapes.Tools(planted, bus)
    suite.add(tools)
    things = offers.Offers(planted)
    return tools, Server(
        "portcullis-test",
        version="1.0.0",
        instructions=f"A server for tests. {planted.passage(planted.instructions)}",
        cache_hints={"tools/list": CacheHint(ttl_ms=1000, scope="public")},
        on_list_tools=tools.list,
        on_call_tool=tools.call,
        on_list_resources=things.list_resources,
        on_list_resource_templates=things.list_templates,
        on_read_resource=things.read,
        on_subscribe_resource=things.subscribe,
        on_unsubscribe_resource=things.unsubscribe,
        on_subscriptions_listen=ListenHandler(bus),
        on_list_prompts=things.list_prompts,
        on_get_prompt=things.get_prompt,
        on_completion=things.complete,
        on_set_logging_level=tools.set_level,
        on_roots_list_changed=tools.roots_changed,
    )


def plain(planted):
    """What else is asked of such a host over HTTP."""

    async def health(_request):
        return JSONResponse({"status": "ok"})

    async def metrics(_request):
        return PlainTextResponse('calls_total{tool="text"} 3\n')

    async def admin(request: Request):
        body = (await request.body()).decode()
        return JSONResponse({"done": request.path_params["what"], "got": body})

    async def leaky(request: Request):
        numbers = [int(number) for number in request.query_params.get("values", "").split(",") if number]
        return PlainTextResponse(planted.passage(numbers))

    return [
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/admin/{what}", admin, methods=["GET", "POST"]),
        Route("/leaky", leaky),
    ]


def obey(command, tools, watched, bus, loop):
    """What one command of standard input does, and answers."""
    match command["do"]:
        case "define":
            tools.guarded = command["description"]
            asyncio.run_coroutine_threadsafe(bus.publish(ToolsListChanged()), loop).result()
            return True
        case "requests":
            return watched.requests
        case "slow":
            return tools.slow_calls
        case other:
            raise ValueError(f"nobody knows how to {other!r}")


def control(tools, watched, bus, loop, stop):
    """Answers each line of standard input, and ends the server with it."""
    for line in sys.stdin:
        try:
            answer = {"done": obey(json.loads(line), tools, watched, bus, loop)}
        except (KeyError, ValueError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    stop()


async def serve(options):
    planted = Planted.read(options.planted)
    bus = InMemorySubscriptionBus()
    tools, mcp = server(planted, bus)
    app = mcp.streamable_http_app(event_store=Events(), custom_starlette_routes=plain(planted))
    watched = Watched(app, options.require_bearer)
    listener = socket.create_server(("127.0.0.1", options.port))
    tls = {}
    if options.tls:
        tls = {"ssl_certfile": options.tls[0], "ssl_keyfile": options.tls[1]}
    running = uvicorn.Server(uvicorn.Config(watched, log_level="warning", timeout_graceful_shutdown=1, **tls))
    loop = asyncio.get_running_loop()

    def stop():
        running.should_exit = True

    arguments = (tools, watched, bus, loop, stop)
    threading.Thread(target=control, args=arguments, daemon=True).start()
    scheme = "https" if options.tls else "http"
    # The socket takes connections from here on, whether or not anybody accepts them yet.
    print(json.dumps({"url": f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/mcp"}), flush=True)
    await running.serve(sockets=[listener])


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0: chosen by the kernel")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--require-bearer", metavar="TOKEN")
    parser.add_argument("--planted", metavar="FILE", help="values that answers hold: see planted.py")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(serve(options()))
