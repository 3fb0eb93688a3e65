"""Pure decisions of the gateway: values in, values out; nothing here waits, reads a clock or draws a number."""

__all__: list[str] = []
