"""Pure decisions of the Python client: values in, values out."""

__all__: list[str] = []
