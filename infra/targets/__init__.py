"""The models that users may name, and the targets (provider, key, model) that each is served by.

Reads `tokenwire.toml`, the settings and the environment's keys; writes nothing. A file is taken whole or refused whole
with every fault named, and no key's value is ever shown. Pure: `model_catalogue`, `presets`, `file_keys`.
"""

__all__: list[str] = []
