"""Pure decisions of sockets: values in, values out."""

__all__: list[str] = []
