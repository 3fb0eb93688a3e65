"""Pure decisions of dead letters: values in, values out."""

__all__: list[str] = []
