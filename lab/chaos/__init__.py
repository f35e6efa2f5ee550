"""What the server does while things go wrong: the chaos run and the soak.

They know the server by its HTTP API and the operating system only. The real CLI runs against a stand-in for
the API that lives in this process, so that what arrives upstream can be compared with what was asked.
"""
