"""What is never shipped: benchmark, chaos run, demo support, and the finder of a CLI."""
