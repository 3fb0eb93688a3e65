"""What becomes of turns: started in their order, stopped, compared, recovered, ended without a log.

Reads the journal and the sessions' logs; writes both, and what gateways are told. Guarantees: every turn that was taken
in ends exactly once, and one turn's fault takes nothing else down. Pure in here: `decisions`.
"""

__all__: list[str] = []
