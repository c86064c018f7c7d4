"""What went over the wire: each exchange of a client, as the client got it, in a form that two runs can be compared in."""

import asyncio
import json
import re

import httpx2

# What differs between any two runs.
VOLATILE = [
    (re.compile(r"state-[0-9a-f]{32}"), "state-…"),
    (re.compile(r"event-[0-9]+"), "event-…"),
    (re.compile(r"127\.0\.0\.1:[0-9]+"), "127.0.0.1:…"),
]


class Wire(httpx2.AsyncBaseTransport):
    """A transport that keeps what passes through it."""

    def __init__(self, verify):
        self._under = httpx2.AsyncHTTPTransport(verify=verify)
        self._exchanges = []
        self.streaming = asyncio.Event()

    async def handle_async_request(self, request):
        exchange = {"request": request, "response": None, "body": bytearray()}
        self._exchanges.append(exchange)
        response = await self._under.handle_async_request(request)
        exchange["response"] = response
        response.stream = Copied(response.stream, exchange["body"])
        if request.method == "GET":
            self.streaming.set()
        return response

    async def aclose(self):
        await self._under.aclose()

    def transcript(self):
        """All exchanges. The long streams come last: when they begin beside the others is nobody's to say."""
        exchanges = [canonical(exchange) for exchange in self._exchanges]
        return sorted(exchanges, key=lambda exchange: exchange["method"] == "GET")

    def raw(self):
        """Each byte that came: heads and bodies."""
        for exchange in self._exchanges:
            if exchange["response"] is not None:
                yield b"".join(name + b": " + value + b"\n" for name, value in exchange["response"].headers.raw)
            yield bytes(exchange["body"]) + b"\n"


class Copied(httpx2.AsyncByteStream):
    """A stream that is kept as it passes."""

    def __init__(self, stream, into):
        self._stream = stream
        self._into = into

    async def __aiter__(self):
        async for chunk in self._stream:
            self._into.extend(chunk)
            yield chunk

    async def aclose(self):
        await self._stream.aclose()


def canonical(exchange):
    request, response = exchange["request"], exchange["response"]
    shown = {"method": request.method, "sent": steady(parsed(request.content.decode() or "null"))}
    if response is None:
        return shown | {"status": None}
    kind = response.headers.get("content-type", "").partition(";")[0]
    # What is cut off may end in the middle of a character, and is to be shown all the same.
    body = exchange["body"].decode(errors="replace")
    got = events(body) if kind == "text/event-stream" else steady(parsed(body))
    session = "mcp-session-id" in response.headers
    return shown | {"status": response.status_code, "type": kind, "session": session, "got": got}


def events(body):
    """The events of a stream, without comments, which only keep it open."""
    found = []
    for block in re.split(r"(?:\r?\n){2}", body):
        fields = [line.partition(":") for line in block.splitlines() if line and not line.startswith(":")]
        event = {name: value.removeprefix(" ") for name, _, value in fields}
        if event:
            if "data" in event:
                event["data"] = parsed(event["data"])
            found.append(steady(event))
    return found


def parsed(body):
    try:
        return json.loads(body)
    except ValueError:
        return body


def steady(value):
    """The same without what differs between any two runs."""
    shown = json.dumps(value, ensure_ascii=False)
    for pattern, instead in VOLATILE:
        shown = pattern.sub(instead, shown)
    return json.loads(shown)
