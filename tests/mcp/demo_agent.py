"""The agent of the demo: calls one tool of an MCP server and prints its answer.

    python demo_agent.py http://127.0.0.1:8000/mcp restart_service name=checkout
"""

import asyncio
import sys

from mcp import Client, MCPError


async def call(url, tool, arguments):
    async with Client(url) as client:
        result = await client.call_tool(tool, arguments)
    print("\n".join(content.text for content in result.content))
    return 1 if result.is_error else 0


def reason(error):
    """What went wrong in the first of a group of tasks."""
    return reason(error.exceptions[0]) if isinstance(error, ExceptionGroup) else str(error)


if __name__ == "__main__":
    url, tool, *arguments = sys.argv[1:]
    try:
        sys.exit(asyncio.run(call(url, tool, dict(argument.split("=", 1) for argument in arguments))))
    except (MCPError, ExceptionGroup) as error:
        sys.exit(reason(error))
