"""A server for OpenAI clients on the `claude` CLI: docs/ARCHITECTURE.md has the rooms and their arrows."""
