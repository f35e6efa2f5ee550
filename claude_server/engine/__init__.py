"""Everything that knows the claude binary: command line, NDJSON, control protocol, processes, events."""
