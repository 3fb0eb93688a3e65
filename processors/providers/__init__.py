"""Model providers behind one protocol.

Reads prompts' messages, writes requests to a provider and gives back batches of typed chunks, or one of the typed
failures of `provider`. Guarantees: a stream that ended without a failure is a whole answer; leaving it early frees
the connection.
"""

__all__: list[str] = []
