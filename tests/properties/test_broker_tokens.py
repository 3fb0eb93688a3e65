"""Access tokens for the brokers over any answer, any clock."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from infra.kafka.decisions.broker_tokens import (
    LIFE_S_MAX,
    LIFE_UNSAID_S,
    BrokerToken,
    GrantRefused,
    read_grant,
    token_state,
)

__all__: list[str] = []

times = st.floats(0, 4e9)
TOKEN_CHARACTERS = "ABCXYZabcxyz0189-._~+/"
tokens = st.text(TOKEN_CHARACTERS, min_size=1)


@given(times, st.floats(0.001, LIFE_S_MAX), st.floats(-1e6, 1e6))
def test_token_is_handed_out_while_it_lives(issued_s: float, life_s: float, since_s: float) -> None:
    """Never before its issue nor after its end; and it ages before it ends."""
    token = BrokerToken("t", issued_s, issued_s + life_s)
    state = token_state(token, issued_s + since_s)
    lives = token.issued_s <= issued_s + since_s < token.expires_s

    assert (state == "ended") == (not lives)
    if state == "fresh":
        assert since_s <= life_s * 0.81 + 1e-3


@given(st.binary(max_size=200), st.integers(100, 599))
def test_any_bytes(body: bytes, status: int) -> None:
    """A token or a sentence, and the sentence repeats nothing of what was said but a short code."""
    match read_grant(status, body, 0.0):
        case BrokerToken():
            assert status == 200
        case GrantRefused(sentence):
            assert sentence.isascii()
            assert sentence.isprintable()


@given(tokens, st.one_of(st.none(), st.floats(0.001, 1e12), st.integers(1, 10**9).map(str)), times)
def test_any_grant(value: str, expires_in: float | str | None, now_s: float) -> None:
    """Its life is what was said, within bounds; a short one where nothing was said."""
    grant = {"access_token": value, "token_type": "Bearer"} | ({} if expires_in is None else {"expires_in": expires_in})
    said_s = LIFE_UNSAID_S if expires_in is None else float(expires_in)

    assert read_grant(200, msgspec.json.encode(grant), now_s) == BrokerToken(
        value, now_s, now_s + min(said_s, LIFE_S_MAX)
    )


@given(st.text(min_size=1).filter(lambda text: not set(text) <= set(TOKEN_CHARACTERS)))
def test_token_of_other_characters(value: str) -> None:
    """It could begin another field of SASL's message: refused, unless it is one after all."""
    found = read_grant(200, msgspec.json.encode({"access_token": value}), 0.0)

    if isinstance(found, BrokerToken):
        assert all("!" <= character <= "~" for character in value)
