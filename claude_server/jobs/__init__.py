"""Answers that are made after their client has left."""
