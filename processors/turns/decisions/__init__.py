"""What a comparison comes to, and how answers are scored: values in, values out."""

__all__: list[str] = []
