"""How a server comes up: its engine, its socket, its first and last words."""
