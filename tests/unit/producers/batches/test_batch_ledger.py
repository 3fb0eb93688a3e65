"""What was sent of a batch: known to others whatever becomes of its sender."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.batches.batch_ledger import (
    BatchHeader,
    BatchLedger,
    BatchPlace,
    BatchUnknown,
    LedgerView,
    SenderAtWork,
    find_batch,
    known_batches,
)
from schemas.prompts import PromptSubmitted


def prompt(number: int) -> PromptSubmitted:
    return PromptSubmitted(user="u", session=f"s{number}", prompt_id="p", input="secret words", models=("a", "b"))


def ledger_of(home: Path, name: str = "nightly", file: str = "/x/p.jsonl") -> BatchLedger:
    header = BatchHeader(name=name, file=file, results=f"{file}.results", lines=2, at_us=1)
    return BatchLedger(BatchPlace.of(home, name), header)


def test_line_is_marked_before_and_after_it_is_published(tmp_path: Path) -> None:
    """Whoever looks meanwhile sees which; no text is kept, but all that is needed to follow it."""
    with ledger_of(tmp_path) as ledger:
        view = LedgerView(ledger.place)
        assert ledger.begin(1, prompt(1))
        view.refresh()
        before = view.marks["u", "s1", "p"].acknowledged
        ledger.acknowledge(1, prompt(1))
        view.refresh()

    mark = view.marks["u", "s1", "p"]
    assert (before, mark.acknowledged, mark.prompt.models) == (False, True, ("a", "b"))
    assert view.header is not None
    assert b"secret" not in ledger.place.entries.read_bytes()


def test_cancelled_batch_sends_no_further_line_until_it_is_taken_up_again(tmp_path: Path) -> None:
    """A line that was marked when the flag went up is known to whoever put it up."""
    with ledger_of(tmp_path) as ledger:
        ledger.place.cancel()
        assert not ledger.begin(1, prompt(1))
        assert ledger.cancelled
    with ledger_of(tmp_path) as again:
        assert not again.cancelled


def test_one_sender_at_a_time(tmp_path: Path) -> None:
    """And whether there is one can be told; its death is its end."""
    place = BatchPlace.of(tmp_path, "nightly")
    at_work = [place.sender_at_work]
    with ledger_of(tmp_path):
        at_work.append(place.sender_at_work)
        with pytest.raises(SenderAtWork, match="nightly"), ledger_of(tmp_path):
            pass
    at_work.append(place.sender_at_work)

    assert at_work == [False, True, False]


def test_what_a_kill_left_is_passed_over(tmp_path: Path) -> None:
    """Half a mark is none; the next run goes on behind it."""
    with ledger_of(tmp_path) as ledger:
        ledger.acknowledge(1, prompt(1))
    with ledger.place.entries.open("ab") as file:
        file.write(b'{"type":"from.the.future"}\n{"type":"line","line":2,"us')
    view = LedgerView(ledger.place)
    view.refresh()
    with ledger_of(tmp_path) as again:
        again.begin(2, prompt(2))
    view.refresh()

    assert {mark.line for mark in view.marks.values()} == {1, 2}


def test_batch_is_found_by_name_and_by_file(tmp_path: Path) -> None:
    """A file sent under two names has to be named; an unknown one is told with where was looked."""
    file = str(tmp_path / "p.jsonl")
    with ledger_of(tmp_path, "nightly", file), ledger_of(tmp_path, str(tmp_path / "own.jsonl"), "/x"):
        pass

    assert [find_batch(tmp_path, named).header for named in ("nightly", file)] == [
        view.header for view in known_batches(tmp_path) if view.header and view.header.name == "nightly"
    ] * 2
    assert find_batch(tmp_path, str(tmp_path / "own.jsonl")).header is not None
    with ledger_of(tmp_path, "weekly", file):
        pass
    with pytest.raises(BatchUnknown, match="several names"):
        find_batch(tmp_path, file)
    with pytest.raises(BatchUnknown, match="batch list"):
        find_batch(tmp_path, "other")
