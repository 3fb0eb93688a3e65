"""Pure decisions of the sessions that are followed: values in, values out."""

__all__: list[str] = []
