"""Pure decisions of the process: values in, values out."""

__all__: list[str] = []
