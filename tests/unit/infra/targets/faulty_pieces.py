"""Pieces of a `tokenwire.toml` that are each wrong in one way, with the one sentence that says so.

They have no table in common, so any of them can stand in one file together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["PASTED_KEY", "PIECES", "SOUND", "Piece", "file_of"]

PASTED_KEY: Final = "sk-live-0123456789abcdefghijklmnopqrstuvwxyz"
"""A key where none belongs."""

SOUND: Final = '[models.good]\ntargets = ["simulated:simulated"]\n'
NUMBERS: Final = 'write provider:model, such as "openai:gpt-4.1-mini"'
LIST: Final = 'write a list such as ["groq:llama-3.3-70b-versatile", "openai:gpt-4.1-mini"]'
VARIABLE: Final = (
    'is no name of an environment variable; name one such as "GROQ_API_KEY"; '
    "if it is the key itself, take it out of the file and set it there"
)
TENANTS: Final = 'write a list such as ["acme", "globex"], or ["*"] for every tenant'
TENANTS_REMEDY: Final = 'cache_tenants = ["acme"], or ["*"] for every tenant, or take cache_s out'
MANY_TENANTS: Final = ", ".join(['"a"'] * 10_001)
KEEP_OUT: Final = "keep keys out of this file: set an environment variable and name it with key_env"
ADDRESS: Final = 'is no address; write one such as "https://api.example.com/v1"'


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands in the file, and the sentence without the file's name."""

    text: str
    fault: str
    top: bool = False
    """Whether it must stand before the first table."""


def on_target(number: int, line: str, fault: str) -> Piece:
    return Piece(f'[targets."openai:m{number}"]\n{line}', f'[targets."openai:m{number}"] {fault}')


def on_model(name: str, line: str, fault: str) -> Piece:
    return Piece(f"[models.{name}]\n{line}", f"[models.{name}] {fault}")


def on_provider(name: str, line: str, fault: str) -> Piece:
    return Piece(f"[providers.{name}]\n{line}", f"[providers.{name}] {fault}")


def on_tier(name: str, line: str, fault: str) -> Piece:
    return Piece(f"[tiers.{name}]\n{line}", f"[tiers.{name}] {fault}")


SIMULATED: Final = 'targets = ["simulated:simulated"]'

PIECES: Final = (
    # before the first table
    Piece("provders = 3", "key provders is unknown; did you mean providers?", top=True),
    Piece(
        'xyz = "red"',
        "key xyz is unknown; name one of: default_model, default_tier, users, models, providers, targets, tiers",
        top=True,
    ),
    Piece(f'api_key = "{PASTED_KEY}"', f"key api_key is unknown; {KEEP_OUT}", top=True),
    Piece(
        'default_model = "goood"',
        "default_model names the model 'goood', which is not there; did you mean good?",
        top=True,
    ),
    Piece(
        'default_tier = "opne"',
        "default_tier names the tier 'opne', which is not there; did you mean open?",
        top=True,
    ),
    Piece("users = 3", 'users is no path of a file; write one in quotes, such as "users.csv"', top=True),
    # models
    on_model("a1", f"{SIMULATED}\nhedeg = true", "hedeg is no key here; did you mean hedge?"),
    on_model("a2", f'{SIMULATED}\nbase_url = "x"', "base_url is no key here; it belongs in [providers.…]"),
    on_model("a3", f'{SIMULATED}\nsecret = "{PASTED_KEY}"', f"secret is no key here; {KEEP_OUT}"),
    on_model("a4", "hedge = true", 'has no targets; add targets = ["provider:model"], or chain = "llama"'),
    on_model("a5", f'{SIMULATED}\nchain = "llama"', "has both targets and a chain; keep one of the two"),
    on_model("a6", "targets = []", f"targets is empty; {LIST}"),
    on_model("a7", 'targets = "openai:x"', f"targets is no list; {LIST}"),
    on_model("a8", "targets = [[]]", "targets holds an empty list; put equals in it, or take it out"),
    on_model("a9", "targets = [3]", f"targets holds an entry that is no text and no list of texts; {LIST}"),
    on_model("b1", 'targets = ["openai:a", "gpt"]', f"targets holds no target in place 2; {NUMBERS}"),
    on_model("b2", f'targets = ["{PASTED_KEY}"]', f"targets holds no target in place 1; {NUMBERS}"),
    on_model(
        "b3",
        'targets = ["openai:a", ["groq:b", "openai:a"]]',
        "targets names 'openai:a' twice; take one of them out",
    ),
    on_model(
        "b4",
        'targets = ["gorq:llama"]',
        "targets names the provider 'gorq', which is no preset and has no table; "
        "add [providers.gorq], or did you mean groq?",
    ),
    on_model("b5", 'chain = "lama"', "chain is 'lama', an unknown chain; did you mean llama?"),
    on_model(
        "b6",
        f'{SIMULATED}\nsubstitute = "no"',
        "substitute is neither true nor false; write true or false, without quotes",
    ),
    on_model(
        "b7", f"{SIMULATED}\nfirst_token_s = 0", "first_token_s is 0; write more than 0 and at most 86400 seconds"
    ),
    on_model("b8", f"{SIMULATED}\ntotal_s = nan", "total_s is no number of seconds; write one such as 5.0"),
    on_model(
        "b9",
        f"{SIMULATED}\nanswer_tokens_max = -1",
        "answer_tokens_max is -1; write 1 to 1000000000, or leave the key out",
    ),
    on_model(
        "c1",
        'chain = "llama"\nsubstitute = true',
        "has no target that can be used; set one of GROQ_API_KEY, TOGETHER_API_KEY, OPENAI_API_KEY and start again",
    ),
    on_model("f1", f"{SIMULATED}\ncache_s = 60", f"has cache_s without cache_tenants; add {TENANTS_REMEDY}"),
    on_model(
        "f2",
        f'{SIMULATED}\ncache_tenants = ["acme"]',
        "has cache_tenants without cache_s; add cache_s = 3600, or take cache_tenants out",
    ),
    on_model("f3", f"{SIMULATED}\ncache_s = 60\ncache_tenants = []", f"cache_tenants is empty; {TENANTS}"),
    on_model("f4", f'{SIMULATED}\ncache_s = 60\ncache_tenants = "acme"', f"cache_tenants is no list; {TENANTS}"),
    on_model(
        "f5",
        f"{SIMULATED}\ncache_s = 60\ncache_tenants = [3]",
        f"cache_tenants holds an entry that is no name; {TENANTS}",
    ),
    on_model(
        "f6",
        f"{SIMULATED}\ncache_s = 60\ncache_tenants = [{MANY_TENANTS}]",
        'cache_tenants holds 10001 tenants; list at most 10000, or write ["*"]',
    ),
    Piece(
        '[providers.cache]\npreset = "vllm"',
        "[providers.cache] is called like the response cache; give it another name",
    ),
    on_model("c2", 'targets = ["groq:x"]', "has no target that can be used; set GROQ_API_KEY and start again"),
    on_model(
        "gpt-4",
        '1-mini = {targets = ["openai:x"]}',
        '1-mini is no key here; put quotes around a name with a dot in it, as in [models."gpt-4.1-mini"]',
    ),
    Piece(
        '[models." blank"]\n' + SIMULATED,
        '[models." blank"] has no usable name; use 1 to 256 printable characters, without blanks at the ends',
    ),
    # providers
    on_provider(
        "d1",
        "concurrent_max = 3",
        "has neither a preset nor a base_url; give it one of the two; "
        "presets are openai, groq, together, openrouter, anthropic, vllm, llama-server, llama-cpp-python, ollama, "
        "simulated",
    ),
    on_provider("d2", 'preset = "olama"', "preset is 'olama', an unknown preset; did you mean ollama?"),
    on_provider("d3", f'preset = "vllm"\nkey_env = "{PASTED_KEY}"', f"key_env {VARIABLE}"),
    on_provider("d4", 'base_url = "api.example.com"', f"base_url {ADDRESS}"),
    on_provider("d5", "base_url = 8000", f"base_url {ADDRESS}"),
    on_provider("d6", 'base_url = "http://host:99999/v1"', f"base_url {ADDRESS}"),
    on_provider(
        "d7",
        f'base_url = "https://user:{PASTED_KEY}@host/v1"',
        "base_url holds a user name or a password; take them out and name the key's variable with key_env",
    ),
    on_provider("d8", 'base_url = "https://host/v1?a=b"', "base_url goes on after its path; end it before the ? or #"),
    on_provider(
        "d9",
        'preset = "openai"\nbase_url = "https://elsewhere.example/v1"',
        "would send the key of OPENAI_API_KEY to another address than the preset's; "
        'name the variable of the right key with key_env, or write key_env = "" if none is needed',
    ),
    on_provider("e1", f'preset = "vllm"\ntoken = "{PASTED_KEY}"', f"token is no key here; {KEEP_OUT}"),
    on_provider("e2", 'preset = "vllm"\nweights = "x"', "weights is no key here; it belongs in [targets.…]"),
    on_provider(
        "e3",
        f'preset = "{PASTED_KEY}"',
        "preset is a text of 44 characters, an unknown preset; name one of: "
        "openai, groq, together, openrouter, anthropic, vllm, llama-server, llama-cpp-python, ollama, simulated",
    ),
    on_provider(
        "e4",
        "preset = 3",
        "preset is no text; name one of: "
        "openai, groq, together, openrouter, anthropic, vllm, llama-server, llama-cpp-python, ollama, simulated",
    ),
    Piece(
        f"[models.{'n' * 70}]\n{SIMULATED}\ncolour = 1",
        f'[models."{"n" * 60}…"] colour is no key here; name one of: targets, chain, substitute, overflow, hedge, '
        "watch_repetition, watch_gibberish, answer_tokens_max, cache_s, cache_tenants, "
        "connect_s, first_token_s, between_tokens_s, total_s",
    ),
    Piece(
        '[providers."a:b"]\npreset = "vllm"',
        '[providers."a:b"] has a colon in its name; leave it out: targets are written provider:model',
    ),
    # targets
    on_target(1, "tokens_per_minute = -5", "tokens_per_minute is -5; write 1 to 1000000000, or leave the key out"),
    on_target(2, "requests_per_minute = 0", "requests_per_minute is 0; write 1 to 1000000000, or leave the key out"),
    on_target(3, "concurrent_max = 2.5", "concurrent_max is no whole number; write digits alone, such as 100"),
    on_target(4, "concurrent_max = true", "concurrent_max is no whole number; write digits alone, such as 100"),
    on_target(5, "context_tokens = 12", "context_tokens is 12; write 256 to 1000000000, or leave the key out"),
    on_target(6, 'abilities = ["vison"]', "abilities holds the unknown ability 'vison'; did you mean vision?"),
    on_target(
        7, 'abilities = "vision"', "abilities is no list of texts; write a list of some of: vision, tools, prefix, json"
    ),
    on_target(8, 'weights = ""', 'weights is no name; write it in quotes, up to 256 characters, such as "chat"'),
    on_target(
        9,
        'price_ref = "gpt"',
        'price_ref names no price; write provider:model as on the price list, such as "groq:llama-3.3-70b-versatile"',
    ),
    on_target(
        11,
        'max_tokens_field = "max_token"',
        "max_tokens_field is 'max_token', an unknown field; did you mean max_tokens?",
    ),
    on_target(10, 'connect_s = "5"', "connect_s is no number of seconds; write one such as 5.0"),
    # tiers
    on_tier("t1", "token_per_day = 5", "token_per_day is no key here; did you mean tokens_per_day?"),
    on_tier("t2", "tokens_per_day = 0", "tokens_per_day is 0; write 1 to 1000000000, or leave the key out"),
    on_tier(
        "t3",
        "bucket_tokens = 500",
        "has bucket_tokens without bucket_tokens_per_s; add bucket_tokens_per_s = 10, or take bucket_tokens out",
    ),
    on_tier(
        "t4",
        "bucket_tokens_per_s = 10",
        "has bucket_tokens_per_s without bucket_tokens; add bucket_tokens = 5_000, or take bucket_tokens_per_s out",
    ),
    on_tier(
        "t5",
        'shadow = ["token_per_day"]',
        "shadow names the unknown limit 'token_per_day'; did you mean tokens_per_day?",
    ),
    on_tier(
        "t6",
        'shadow = ["usd_per_month"]',
        "shadow names usd_per_month, which the tier does not limit; add usd_per_month, or take it out of shadow",
    ),
    on_tier("t7", 'shadow = "x"', 'shadow is no list of texts; write a list of limits, such as ["tokens_per_day"]'),
    on_tier("t8", 'models = ["goood"]', "models names the model 'goood', which is not there; did you mean good?"),
    on_tier(
        "t9", "models = []", 'models is empty; write a list such as ["chat"], or leave the key out for all of them'
    ),
    on_tier(
        "u1",
        "usd_per_month = -1",
        "usd_per_month is -1; write more than 0 and at most 1000000 dollars, or leave the key out",
    ),
    on_tier("u2", "usd_per_month = inf", "usd_per_month is no number of dollars; write one such as 20.0"),
    on_tier("u3", 'unpriced = "alow"', "unpriced is 'alow', an unknown answer; did you mean allow?"),
    on_tier("u4", "prompt_bytes = 10_000_000", "prompt_bytes is 10000000; write 1 to 524288, or leave the key out"),
    on_tier("u5", f'token = "{PASTED_KEY}"', f"token is no key here; {KEEP_OUT}"),
    on_tier(
        "u6",
        "models = [3]",
        'models is no list of models; write a list such as ["chat"], or leave the key out for all of them',
    ),
    Piece("[targets.openai]\nconcurrent_max = 1", '[targets.openai] names no target; write [targets."provider:model"]'),
)


def file_of(pieces: tuple[Piece, ...]) -> str:
    """One file with all of them, and one model that is in order."""
    top = [piece.text for piece in pieces if piece.top]
    tables = [piece.text for piece in pieces if not piece.top]
    return "\n".join((*top, SOUND, *tables)) + "\n"
