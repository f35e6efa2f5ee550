"""What is refused before any work, as pure ASGI middleware."""
