"""What config.py is made with: how settings are described, chosen among their sources, and written about.

Everything here works on values passed in.
"""
