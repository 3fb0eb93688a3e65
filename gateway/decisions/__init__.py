"""What several rooms of the gateway decide alike. Pure: values in, values out."""

__all__: list[str] = []
