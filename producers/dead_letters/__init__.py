"""Dead letters: listed, and sent again: `tokenwire deadletters`.

Reads the dead-letter topic; writes nothing. Guarantees: the same letter sent again twice is one prompt.
Pure: what is in `decisions/` (what can be sent again, and under which id).
"""

__all__: list[str] = []
