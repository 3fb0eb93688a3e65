"""Whoever shows the token in one way comes in, and nobody else, whatever is sent."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from infra.clickhouse.decisions.reader_access import READER_NAME, AccessFault, judge_access, token_digest

__all__: list[str] = []

TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=32, max_size=80)
ANY_TEXT = st.text(max_size=80)
NAMES = st.sampled_from((READER_NAME, ""))
WAYS = st.sampled_from(("header", "basic", "address"))


def shown(way: str, name: str, token: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Headers and address of a request that shows a token in a way."""
    if way == "header":
        return CIMultiDict({"x-clickhouse-user": name, "x-clickhouse-key": token}), {}
    if way == "basic":
        encoded = base64.b64encode(f"{name}:{token}".encode("utf-8", "surrogatepass")).decode()
        return CIMultiDict({"authorization": f"Basic {encoded}"}), {}
    return CIMultiDict(), {"user": name, "password": token}


@given(TOKENS, NAMES, WAYS)
def test_token_opens_in_every_way(token: str, name: str, way: str) -> None:
    """By `default`, or by nobody in particular."""
    assert judge_access(*shown(way, name, token), token_digest(token)) is None


@given(TOKENS, st.one_of(NAMES, ANY_TEXT), ANY_TEXT, WAYS)
def test_nothing_else_opens(token: str, name: str, tried: str, way: str) -> None:
    """Neither another text as the token, nor the token under another name."""
    digest = token_digest(token)
    if tried != token:
        assert judge_access(*shown(way, name, tried), digest) is not None
    if name not in (READER_NAME, "") and not (way == "basic" and ":" in name):
        assert judge_access(*shown(way, name, token), digest) is AccessFault.WRONG


@given(TOKENS, st.lists(WAYS, min_size=2, max_size=2, unique=True), ANY_TEXT)
def test_two_ways_at_once_are_refused(token: str, ways: list[str], other: str) -> None:
    """Also where both are right."""
    headers: CIMultiDict[str] = CIMultiDict()
    address: dict[str, str] = {}
    for way, value in zip(ways, (token, other or token), strict=True):
        more_headers, more_address = shown(way, READER_NAME, value)
        headers.update(more_headers)
        address |= more_address

    assert judge_access(headers, address, token_digest(token)) is AccessFault.SEVERAL


@given(TOKENS, ANY_TEXT.filter(bool))
def test_headers_of_any_kind_are_judged(token: str, value: str) -> None:
    """A header of another scheme, or that is no base64, is a refusal and never an error."""
    digest = token_digest(token)

    assert judge_access({"Authorization": value}, {}, digest) is not None
    assert judge_access({"Authorization": f"Basic {value}"}, {}, digest) is not None


def test_refusals_say_what_is_missing() -> None:
    """Nothing, a name alone, an empty password, another scheme, no base64."""
    digest = token_digest("t" * 32)

    assert judge_access({}, {"query": "SELECT 1"}, digest) is AccessFault.ABSENT
    assert judge_access({"X-ClickHouse-User": "default"}, {}, digest) is AccessFault.ABSENT
    assert judge_access({}, {"user": "default", "password": ""}, digest) is AccessFault.ABSENT
    assert judge_access({"Authorization": "Bearer x"}, {}, digest) is AccessFault.SCHEME
    assert judge_access({"Authorization": "Basic %%%"}, {}, digest) is AccessFault.WRONG
    assert judge_access({"Authorization": "Basic /////w=="}, {}, digest) is AccessFault.WRONG
