"""Pure decisions of one client's conversation: values in, values out."""

__all__: list[str] = []
