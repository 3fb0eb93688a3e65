"""What a provider's answer says: its chunks, its errors, its limits, its deadlines: values in, values out."""

__all__: list[str] = []
