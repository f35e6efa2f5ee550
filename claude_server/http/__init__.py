"""Parse, call, wrap: one file per endpoint. Statuses are chosen in errors.py."""
