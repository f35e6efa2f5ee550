"""Logs and request ids. Never a prompt, a key or a token in either."""
