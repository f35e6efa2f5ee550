"""What is kept: records of sessions."""
