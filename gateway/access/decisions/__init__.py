"""Pure decisions of who may come in: values in, values out."""

__all__: list[str] = []
