"""Which commands are done with: values in, values out."""

__all__: list[str] = []
