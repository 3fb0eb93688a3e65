"""What is decided for every process: which ports may be chosen. Pure."""

__all__: list[str] = []
