"""The endpoints beside the dialects: health, models, sessions, tools, MCP servers, login, pages."""
