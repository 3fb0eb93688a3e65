"""What a session's line, log and journal say of its turns: values in, values out."""

__all__: list[str] = []
