"""Access to Kafka: connection options, topics, and reads of a partition at a known offset.

Reads and writes the cluster named by the settings. Guarantees: no client asks for a topic to be created by the way,
and none remembers more topics than it uses.
"""

__all__: list[str] = []
