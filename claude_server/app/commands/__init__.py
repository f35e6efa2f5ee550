"""The commands beside serving: `python claude_api.py NAME ...`, one module each."""
