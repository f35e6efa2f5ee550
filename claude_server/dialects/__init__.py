"""Pure functions between what goes over the wire and what the core understands, one folder a dialect."""
