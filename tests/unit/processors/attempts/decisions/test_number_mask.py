from __future__ import annotations

from processors.attempts.decisions.number_mask import NUMBERS_CHARS_MAX, NumberMask


def mask_of(*texts: str) -> NumberMask:
    mask = NumberMask()
    for text in texts:
        mask.add(text)
    return mask


def test_numbers_become_one_mark() -> None:
    """However long, and the text around them stays."""
    assert NumberMask().add("Step 17 of 2300: go.") == "Step 0 of 0: go."


def test_number_in_two_pieces_is_one_number() -> None:
    """It is held back until something else follows."""
    mask = NumberMask()

    assert mask.add("Step 1") == "Step "
    assert mask.add("7") == ""
    assert mask.add(": go, ") == "0: go, "
    assert mask.add("then") == "then"
    assert mask.numbers.split() == ["17"]


def test_one_number_that_counts_is_running() -> None:
    """Up or down, among others that stand still."""
    assert mask_of(*(f"Step {at} of 9. " for at in range(10))).runs(2)
    assert mask_of(*(f"T minus {90 - 5 * at}. " for at in range(10))).runs(1)


def test_numbers_that_do_not_count_evenly_are_not_running() -> None:
    """Neither two that move, nor one that jumps, nor one that stands still."""
    assert not mask_of(*(f"{at} times {at + 1}. " for at in range(10))).runs(2)
    assert not mask_of(*(f"Square {at * at}. " for at in range(10))).runs(1)
    assert not mask_of(*("Room 7. " for _ in range(10))).runs(1)


def test_too_little_to_tell_is_not_running() -> None:
    """No column, more columns than looked at, or too few rows."""
    mask = mask_of(*(f"Step {at}. " for at in range(8)))

    assert not mask.runs(0)
    assert not mask.runs(7)
    assert not mask.runs(1)


def test_endless_digits_take_bounded_room() -> None:
    """Of a number without end only the last digits are kept, of many numbers only the newest."""
    mask = mask_of(*("123456789" for _ in range(500)))
    assert len(mask.held) == 18
    for at in range(5_000):
        mask.add(f" {at} ")

    assert len(mask.numbers) <= NUMBERS_CHARS_MAX
