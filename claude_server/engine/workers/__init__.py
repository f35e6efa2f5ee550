"""Workers and their pool: which process serves a turn, in which state it is, and one attempt at a turn."""
