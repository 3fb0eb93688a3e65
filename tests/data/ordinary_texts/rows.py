"""Generated data as models are asked for it: tables, logs, lists, dumps, keys, drawings, fenced and not."""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Iterator
from typing import Final

__all__ = ["rows"]

WORDS: Final = (
    "inal", "amber", "anchor", "basin", "birch", "candle", "canyon", "copper", "dawn", "ember", "fabric", "falcon",
    "garden", "glacier", "harbor", "hazel", "island", "ivory", "juniper", "kettle", "ladder", "lantern", "maple",
    "meadow", "needle", "nickel", "orchard", "otter", "pebble", "pepper", "quartz", "quiver", "raven", "ribbon",
    "saddle", "silver", "thistle", "timber", "umber", "valley", "velvet", "walnut", "willow", "yarrow", "zephyr",
)  # fmt: skip
LEVELS: Final = ("INFO", "INFO", "INFO", "WARN", "DEBUG", "ERROR")
BASES: Final = "ACGT"
BLOCK: Final = "```"


def rows() -> Iterator[tuple[str, str]]:
    """Every text with its name; what is drawn, is drawn from fixed seeds."""
    for seed in (1, 2, 3):
        for make in DRAWN:
            yield f"{make.__name__.replace('_', ' ')} {seed}", make(random.Random(seed))
    for make_fixed in FIXED:
        yield make_fixed.__name__.replace("_", " "), make_fixed()


def fenced(text: str, language: str = "") -> str:
    return f"Here it is:\n\n{BLOCK}{language}\n{text}\n{BLOCK}\n\nTell me if you need it in another form.\n"


def name(draw: random.Random) -> str:
    return f"{draw.choice(WORDS)}-{draw.choice(WORDS)}"


def comma_rows(draw: random.Random) -> str:
    lines = [f"{n},{name(draw)},{draw.randint(1, 90)},{draw.random() * 100:.2f},active" for n in range(1, 160)]
    return "id,name,age,score,state\n" + "\n".join(lines)


def comma_rows_that_hardly_differ(draw: random.Random) -> str:
    start = draw.randint(1, 900)
    return "\n".join(f"{n},pending,unassigned,none,0.00" for n in range(start, start + 200))


def objects(draw: random.Random) -> str:
    made = [{"id": n, "name": name(draw), "tags": draw.sample(WORDS, 3), "ok": True} for n in range(60)]
    return fenced(json.dumps(made, indent=2), "json")


def object_lines_without_fence(draw: random.Random) -> str:
    return "\n".join(json.dumps({"id": n, "user": name(draw), "value": 0, "enabled": False}) for n in range(120))


def service_log(draw: random.Random) -> str:
    lines = [
        f"2031-04-0{draw.randint(1, 9)}T1{draw.randint(0, 9)}:{draw.randint(10, 59)}:{n % 60:02} "
        f"{draw.choice(LEVELS)} [{name(draw)}] request {draw.randint(1000, 9999)} took {draw.randint(1, 900)} ms"
        for n in range(150)
    ]
    return fenced("\n".join(lines), "text")


def heartbeat_log_without_fence(draw: random.Random) -> str:
    start = draw.randint(10, 20)
    return "\n".join(
        f"2031-04-02 {start}:{n // 60:02}:{n % 60:02} INFO heartbeat ok, queue empty, {draw.randint(1, 9)} ms"
        for n in range(200)
    )


def quiet_heartbeat_log_without_fence(draw: random.Random) -> str:
    start = draw.randint(10, 20)
    return "\n".join(f"2031-04-02 {start}:{n // 60:02}:{n % 60:02} INFO heartbeat ok, queue empty" for n in range(200))


def coloured_log(draw: random.Random) -> str:
    return "\n".join(f"\x1b[3{draw.randint(1, 6)}m{draw.choice(LEVELS)}\x1b[0m {name(draw)} ready" for _ in range(120))


def table(draw: random.Random) -> str:
    lines = [f"| {name(draw)} | {draw.randint(1, 99)} | {draw.choice(WORDS)} |" for _ in range(80)]
    return "| item | count | place |\n|------|-------|-------|\n" + "\n".join(lines)


def table_of_equal_cells(draw: random.Random) -> str:
    cells = " | ".join(draw.choice(("yes", "no", "n/a")) for _ in range(6))
    return "| a | b | c | d | e | f |\n|---|---|---|---|---|---|\n" + f"| {cells} |\n" * 60


def numbered_table(draw: random.Random) -> str:
    state = draw.choice(("open", "done", "waiting"))
    return "| no | task | owner | state |\n|---|---|---|---|\n" + "".join(
        f"| {n} | To be decided | Nobody yet | {state} |\n" for n in range(1, 90)
    )


def encoded_blob(draw: random.Random) -> str:
    text = base64.b64encode(draw.randbytes(6_000)).decode()
    return fenced("\n".join(text[at : at + 76] for at in range(0, len(text), 76)))


def padded_blob(draw: random.Random) -> str:
    return fenced(base64.b64encode(draw.randbytes(90) + bytes(3_000) + draw.randbytes(300)).decode())


def key_without_fence(draw: random.Random) -> str:
    text = base64.b64encode(draw.randbytes(2_350)).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"This is the test key:\n-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\nKeep it safe."


def picture_address(draw: random.Random) -> str:
    return f"![dot](data:image/png;base64,{base64.b64encode(draw.randbytes(1_500)).decode()})\n\nA small red dot."


def dump(draw: random.Random) -> str:
    lines = []
    for at in range(0, 2_400, 16):
        part = draw.randbytes(16) if at < 1_200 else bytes(16)
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:08x}  {part.hex(' ')}  |{shown}|")
    return fenced("\n".join(lines))


def bases(draw: random.Random) -> str:
    text = "".join(draw.choice(BASES) for _ in range(4_000))
    repeat = text[:900] + "CAG" * 300 + text[900:]
    return fenced("\n".join(repeat[at : at + 60] for at in range(0, len(repeat), 60)))


def script_in_one_line(draw: random.Random) -> str:
    parts = [
        f"function {draw.choice('abcdefgh')}{n}(e,t){{var n=e[{draw.randint(0, 9)}];return n&&t?n.{draw.choice(WORDS)}"
        f"(t,!{draw.randint(0, 1)}):void 0}}"
        for n in range(120)
    ]
    return fenced(";".join(parts), "js")


def identifiers(draw: random.Random) -> str:
    return "\n".join(f"- {uuid.UUID(int=draw.getrandbits(128), version=4)}" for _ in range(120))


def hashes(draw: random.Random) -> str:
    return "\n".join(f"{draw.randbytes(32).hex()}  {name(draw)}.tar" for _ in range(80))


def passwords(draw: random.Random) -> str:
    signs = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789!#$%&*+-?@"
    return "\n".join(f"{n}. `{''.join(draw.choices(signs, k=16))}`" for n in range(1, 61))


def addresses(draw: random.Random) -> str:
    return "\n".join(
        f"https://{name(draw)}.example/{draw.choice(WORDS)}/{n}?page={draw.randint(1, 99)}&sort={draw.choice(WORDS)}"
        for n in range(90)
    )


def word_list(draw: random.Random) -> str:
    return ", ".join(draw.choice(WORDS) + draw.choice(("", "s", "ed", "ing", "less")) for _ in range(600))


def dice(draw: random.Random) -> str:
    return " ".join(str(draw.randint(1, 6)) for _ in range(2_000))


def coins(draw: random.Random) -> str:
    return "".join(draw.choice("HT") for _ in range(2_000)) + "\n" + " ".join(draw.choice("01") for _ in range(1_500))


def moves(draw: random.Random) -> str:
    def move() -> str:
        return draw.choice(("", "N", "B", "R", "Q", "K")) + draw.choice("abcdefgh") + str(draw.randint(1, 8))

    return " ".join(f"{n}. {move()} {move()}" for n in range(1, 240))


def trace(draw: random.Random) -> str:
    frames = [
        f'  File "{draw.choice(WORDS)}.py", line {draw.randint(1, 900)}, in {draw.choice(WORDS)}\n    return f(n - 1)'
        for _ in range(90)
    ]
    return "Traceback (most recent call last):\n" + "\n".join(frames) + "\nRecursionError: too deep"


def difference(draw: random.Random) -> str:
    return fenced("\n".join(f"{draw.choice('+- ')}{name(draw)} = {draw.randint(1, 99)}" for _ in range(200)), "diff")


def insertions(draw: random.Random) -> str:
    return fenced("\n".join(f"INSERT INTO items (id, name) VALUES ({n}, '{name(draw)}');" for n in range(140)), "sql")


def tune(draw: random.Random) -> str:
    return "\n".join(
        f"{string}|" + "".join(draw.choice("---0-2-3-5") for _ in range(60)) + "|" for string in "eBGDAE" * 6
    )


def formulas(draw: random.Random) -> str:
    return "\n\n".join(
        f"$$\\Delta x_{{{n}}} = \\frac{{\\alpha_{n} \\cdot {draw.randint(2, 99)}}}{{\\sqrt{{\\pi \\sigma^2}}}}$$ "
        f"so that Δx ≈ {draw.random():.3f} μm, θ ≥ {draw.randint(1, 90)}° and ∑λᵢ ∈ ℝ."
        for n in range(40)
    )


def circle_digits() -> str:
    digits, state = "", (1, 0, 1, 1, 3, 3)
    while len(digits) < 2_000:
        q, r, t, k, m, x = state
        if 4 * q + r - t < m * t:
            digits += str(m)
            state = (10 * q, 10 * (r - m * t), t, k, (10 * (3 * q + r)) // t - 10 * m, x)
        else:
            state = (q * k, (2 * q + r) * x, t * x, k + 1, (q * (7 * k + 2) + r * x) // (t * x), x + 2)
    return f"3.{digits[1:]}"


def times_tables() -> str:
    return "\n\n".join("\n".join(f"{a} × {b} = {a * b}" for b in range(1, 13)) for a in range(1, 21))


def long_count() -> str:
    return ", ".join(map(str, range(1, 1_500)))


def long_count_in_lines() -> str:
    return "\n".join(f"{n}." for n in range(1, 900))


def squares() -> str:
    return "\n".join(f"The square of {n} is {n * n}." for n in range(1, 200))


def numbered_list_of_the_same() -> str:
    return "\n".join(f"{n}. TBD" for n in range(1, 300))


def pending_items() -> str:
    return "\n".join(f"- [ ] Item {n}: open" for n in range(1, 250))


def zeros() -> str:
    return "[" + ",\n ".join("[" + ", ".join(["0"] * 40) + "]" for _ in range(40)) + "]"


def zeros_without_brackets() -> str:
    return "\n".join(" ".join(["0"] * 28) for _ in range(28))


def unit_matrix() -> str:
    return fenced("\n".join(" ".join("1" if a == b else "0" for b in range(36)) for a in range(36)))


def rulers() -> str:
    return "\n\n".join(f"{'=' * 80}\nChapter {n}\n{'-' * 80}\nTo be written." for n in range(1, 14)) + "\n" + "*" * 600


def leaders() -> str:
    return "\n".join(f"{word} {'.' * (100 - len(word))} {number}" for number, word in enumerate(WORDS))


def drawing() -> str:
    lines = [" " * (30 - n) + "*" * (2 * n + 1) for n in range(30)]
    return fenced("\n".join([*lines, *reversed(lines), *["   |   |   " * 6] * 10]))


def boxes() -> str:
    return "\n".join(["┌" + "─" * 60 + "┐", *["│" + " " * 60 + "│"] * 8, "└" + "─" * 60 + "┘"] * 4)


def chessboard() -> str:
    return "\n".join(("⬛⬜" * 8, "⬜⬛" * 8) * 12)


def dots_picture() -> str:
    return "\n".join("".join(chr(0x2800 + (a * b * 7) % 256) for b in range(40)) for a in range(30))


def days() -> str:
    return "\n".join(f"- 2031-{month:02}-{day:02}: free" for month in range(1, 13) for day in range(1, 29))


def empty_form() -> str:
    return "\n".join(f"{word.capitalize()}: ______________________________" for word in WORDS)


def blank_rows() -> str:
    return "| name | date | signature |\n|---|---|---|\n" + "|      |      |           |\n" * 40


def syntax_tree() -> str:
    return "\n".join("(" * n + "x" + ")" * n for n in range(1, 60))


def letters_of_the_alphabet() -> str:
    return "\n".join(f"{a}{b}" for a in "bcdfgh" for b in "abcdefghijklmnopqrstuvwxyz")


def codes() -> str:
    return " ".join(a + b + c for a in "BCDFG" for b in "KLMN" for c in "PRSTVWXZ")


def abbreviations() -> str:
    return ", ".join(("HTTPS", "XML", "TCP/IP", "SQL", "CSS", "JSON", "NGINX", "GRPC", "SMTP", "DNSSEC", "TLS") * 24)


DRAWN: Final = (
    comma_rows, comma_rows_that_hardly_differ, objects, object_lines_without_fence, service_log,
    heartbeat_log_without_fence, quiet_heartbeat_log_without_fence, coloured_log, table, table_of_equal_cells,
    numbered_table, encoded_blob, padded_blob, key_without_fence, picture_address, dump, bases, script_in_one_line,
    identifiers, hashes, passwords, addresses, word_list, dice, coins, moves, trace, difference, insertions, tune,
    formulas,
)  # fmt: skip
FIXED: Final = (
    circle_digits, times_tables, long_count, long_count_in_lines, squares, numbered_list_of_the_same, pending_items,
    zeros, zeros_without_brackets, unit_matrix, rulers, leaders, drawing, boxes, chessboard, dots_picture, days,
    empty_form, blank_rows, syntax_tree, letters_of_the_alphabet, codes, abbreviations,
)  # fmt: skip
