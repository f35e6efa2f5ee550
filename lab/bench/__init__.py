"""The benchmark: our server beside the stand-in itself, a process per request and a bare loop.

`python -m lab.bench --help`. It knows the server and the stand-in by their HTTP APIs only.
"""
