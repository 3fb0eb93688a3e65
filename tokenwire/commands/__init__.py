"""The commands, one small module per group; each imports what it runs only when it is run."""

__all__: list[str] = []
