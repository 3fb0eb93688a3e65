"""How records become rows, and when rows are inserted: values in, values out."""

__all__: list[str] = []
