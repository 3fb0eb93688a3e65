"""A line on this machine: what `tokenwire up` starts, on which ports, and how commands find one that runs.

Reads the settings and the notes of a running line in TOKENWIRE_HOME; writes those notes. Imports nothing of a command.
"""

__all__: list[str] = []
