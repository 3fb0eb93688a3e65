"""What is decided for every process: which ports may be chosen, when what failed is tried again. Pure."""

__all__: list[str] = []
