"""The MCP server of the demo: three tools that an operator's agent has, one of them with a secret in its answer.

    python demo_server.py 8000    # http://127.0.0.1:8000/mcp
"""

import sys

from mcp.server import MCPServer

server = MCPServer("operations")


@server.tool()
def read_config() -> str:
    """Shows the configuration of the checkout service."""
    return "LOG_LEVEL=info\nDB_HOST=db.example.test\nDB_PASSWORD=FAKE-hunter2-Zx81qPw7\n"


@server.tool()
def restart_service(name: str) -> str:
    """Restarts a service."""
    return f"{name} is restarted"


@server.tool()
def drop_database(name: str) -> str:
    """Deletes a database with all that is in it."""
    return f"{name} is gone"


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]))
