"""What an answer is watched for, what it costs, and when it may be given again: values in, values out."""

__all__: list[str] = []
