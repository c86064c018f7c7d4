"""FastMCP as a gateway to one MCP server, TLS on both sides, set up as one would who wants it fast: no log, one session upstream
for all, answers in JSON. The CA of the server is that of the environment (SSL_CERT_FILE)."""

import asyncio
import sys

from fastmcp import Client
from fastmcp.server import create_proxy


async def serve(upstream: str, port: int, certificate: str, key: str) -> None:
    async with Client(upstream) as client:
        await create_proxy(client, name="gateway").run_http_async(
            show_banner=False,
            host="127.0.0.1",
            port=port,
            path="/mcp",
            log_level="error",
            json_response=True,
            uvicorn_config={"ssl_certfile": certificate, "ssl_keyfile": key},
        )


upstream, port, certificate, key = sys.argv[1:]
asyncio.run(serve(upstream, int(port), certificate, key))
