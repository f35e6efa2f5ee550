"""How small files of the state folder are written."""
