"""Finding the binary, finding out what it can do, and its login."""
