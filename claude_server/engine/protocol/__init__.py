"""Bytes, frames and events: how the CLI is spoken to. Nothing here starts a process."""
