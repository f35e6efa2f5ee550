"""What clients send and get: pydantic models, one file per endpoint."""
