"""Pure decisions of session logs: values in, values out."""

__all__: list[str] = []
