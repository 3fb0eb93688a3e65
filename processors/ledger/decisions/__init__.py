"""What an account decides: values in, values out. No clock, no waiting, no random draw, no input or output."""

__all__: list[str] = []
