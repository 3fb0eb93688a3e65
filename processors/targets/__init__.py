"""Places at models' targets: limits, breakers, queues, and permits for limits that other workers hold.

Reads words between workers; writes such words onto their partitions of `tokenwire.prompts`. Guarantees: a call is
reserved before it begins and finished once; whoever is first in the queue is served first. Pure in here: `decisions`.
"""

__all__: list[str] = []
