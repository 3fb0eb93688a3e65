"""Who may come in beyond what a token says by itself: logouts, and tickets that work once.

Reads and writes `tokenwire.access` and `tokenwire.tickets`. Guarantees: a logout that was acknowledged ends the user's
tokens on every gateway, a ticket lets in one connection. Pure: what is in `decisions/` (who has logged out, which claim
of a ticket counts, how often somebody may ask).
"""

__all__: list[str] = []
