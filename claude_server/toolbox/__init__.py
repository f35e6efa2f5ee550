"""What is kept about tools of the CLI's own: what keys chose, and MCP servers."""
