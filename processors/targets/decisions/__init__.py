"""Who may call which target, and when: values in, values out."""

__all__: list[str] = []
