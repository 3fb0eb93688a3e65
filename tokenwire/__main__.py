"""`python -m tokenwire`: the same as the command `tokenwire`."""

from __future__ import annotations

from tokenwire.command_line import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
