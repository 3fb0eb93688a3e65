"""A model provider to test and demonstrate with: OpenAI's HTTP interface, deterministic answers, faults on demand.

Reads requests on a loopback port and writes nothing but answers. Guarantees: the same messages, seed and length
give the same tokens (`answer_text.answer_for` predicts them), every call is counted (`GET /calls`), and a fault
happens exactly where the prompt asked for it (`behaviour`). Pure in here: `answer_text`, `behaviour`, `wire_script`.
"""

__all__: list[str] = []
