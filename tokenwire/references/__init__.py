"""The generated pages of `docs/reference/`: each is made from the sources, and a test compares it with what lies there.

Pure but for `generated_references`, which reads the sources and writes the pages (`make schemas`).
"""

__all__: list[str] = []
