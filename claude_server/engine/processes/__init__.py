"""Processes of the CLI: command line, environment, start, table, sweep, transcripts."""
