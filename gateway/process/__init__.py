"""The process: makes the gateway's parts in the order of their needs, serves, looks after them, leaves in good order.

Reads settings, signals and the clock; answers HTTP. Guarantees: a failure of one connection costs that connection
alone; whoever is not gone within `gateway_leave_s` is dropped and resumes elsewhere from its own cursors. Pure: what is
in `decisions/` (slots for leaving clients, when garbage is looked for, how long a stop may take).
"""

__all__: list[str] = []
