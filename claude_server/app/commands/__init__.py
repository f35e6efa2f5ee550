"""The commands beside serving: `python claude_api.py NAME ...` or `claude-api NAME ...`, one module each."""
