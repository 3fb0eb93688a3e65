"""A file of prompts, sent and brought back: `tokenwire batch`.

Reads a file of prompts, its ledger and session logs; writes the results file and the ledger. Guarantees: a batch that
is killed and run again sends nothing twice and pays once. Pure: `batch_plan`, which decides what a run sends.
"""

__all__: list[str] = []
