"""The light client as its users have it: installed from wheels alone, beside a project with names like ours.

Covers: infra.client_distribution.__main__.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

import tokenwire
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.log_client import LogClient
from infra.settings import load_settings
from schemas.codec import decode_prompt_command
from schemas.identifiers import check_prompt_id, check_session_id, check_user_id, turn_id_of
from schemas.prompts import PromptSubmitted
from schemas.topics import user_partition
from tests.fakes.topic_names import PROMPTS
from tests.integration.gateway_line import SessionWriter, answer_events, gateway_settings, running_gateway, token_for

ROOT: Final = Path(__file__).resolve().parents[2]
BYTES_MAX: Final = 15_000_000
WORDS: Final = ("It ", "scatters ", "blue ", "light.")
ASK: Final = """
import asyncio, sys
import infra, schemas
import tokenwire_client as client

async def main(url, token):
    async with client.connect(url, token=token) as line:
        answer = line.ask("Why?", session="light", prompt_id="p1")
        async for text in answer:
            print(text, end="", flush=True)
        print(f"|{answer.state}")

assert infra.WHOSE == schemas.WHOSE == "the project's own"
try:
    client.connect("not an address", token="t.t.t").__aenter__().send(None)
except client.InvalidField as fault:
    assert fault.field == "url", fault
try:
    client.Producer
except ImportError as fault:
    assert "pip install 'tokenwire-client[kafka]'" in str(fault), fault
else:
    raise SystemExit("Producer is there without its extra")
assert not {"infra.settings", "faust", "chdb", "aiokafka", "confluent_kafka", "pydantic"} & set(sys.modules)
asyncio.run(main(*sys.argv[1:]))
"""
PUBLISH: Final = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import tokenwire_client as client

async def main(kafka):
    async with client.Producer(kafka=kafka, home=sys.argv[3]) as producer:
        receipt = await producer.submit("Why?", user="light", session="light", prompt_id="p2")
        print(receipt.partition, receipt.offset)

for name in client.__all__:
    getattr(client, name)
assert "client/_parts/producers" in client.Producer.__module__.replace(".", "/"), client.Producer
assert not [name for name in sys.modules if name.split(".")[0] in {"infra", "schemas", "producers", "tokenwire"}]
asyncio.run(main(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make client` builds it."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "infra.client_distribution", "--out", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's Python, with the wheel and what it asks for; no network."""
    wheelhouse = Path(os.environ.get("TOKENWIRE_HOME") or ROOT / ".tokenwire") / "cache" / "wheelhouse"
    if not any(wheelhouse.glob("*.whl")):
        pytest.skip("no wheelhouse: `make setup` makes it where there is a network")
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    links = ["--no-index", "--find-links", str(wheelhouse), "--find-links", str(wheel.parent)]
    command = [*pip, "install", *links, "tokenwire-client"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return python


def test_has_one_top_level_name_and_every_public_one(wheel: Path) -> None:
    """It can be installed beside anything, and beside Tokenwire itself."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        face = archive.read("tokenwire_client/__init__.py").decode()

    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"tokenwire_client"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "tokenwire_client/py.typed" in names
    assert [name for name in tokenwire.__all__ if f'    "{name}",' not in face] == []


def test_weighs_little(installed: Path) -> None:
    """With all that it asks for, within 15 MB."""
    (packages,) = installed.parents[1].glob("lib/python*/site-packages")
    size_bytes = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file())

    assert size_bytes <= BYTES_MAX


async def test_asks_beside_a_projects_own_packages(installed: Path, broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Nothing of ours is taken for theirs, nor theirs for ours, and no Kafka, Java, engine or Faust is imported."""
    for package in ("infra", "schemas"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('WHOSE = "the project\'s own"\n')
    settings = await gateway_settings(broker, tmp_path / "home")
    turn = turn_id_of(check_user_id("light"), check_session_id("light"), check_prompt_id("p1"))
    async with running_gateway(settings) as port, SessionWriter(settings) as writer:
        await writer.append("light", "light", answer_events(turn, WORDS))
        url = f"ws://127.0.0.1:{port}/v1/connect"
        code, told, fault = await run(installed, ASK, [url, token_for("light")], tmp_path)

    assert (code, fault) == (0, "")
    assert told == "".join(WORDS) + "|complete\n"


async def test_publishes_with_the_extra(wheel: Path, broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The moved modules alone: what the extra asks for is there, and nothing of the checkout is imported."""
    settings = load_settings({}, kafka=broker.bootstrap_servers, home=tmp_path)
    await gateway_settings(broker, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    arguments = [str(tmp_path / "site"), broker.bootstrap_servers, str(tmp_path / "home")]
    code, told, fault = await run(Path(sys.executable), PUBLISH, arguments, tmp_path)
    assert (code, fault) == (0, "")
    partition, offset = map(int, told.split())
    reader = LogClient(settings)
    await reader.start()
    try:
        records = [r async for found in reader.read(PROMPTS, partition, offset, offset + 1) for r in found]
    finally:
        await reader.stop()

    assert partition == user_partition(check_user_id("light"))
    command = decode_prompt_command(records[0].value or b"")
    assert isinstance(command, PromptSubmitted)
    assert command.prompt_id == "p2"


async def run(python: Path, program: str, arguments: Sequence[str], folder: Path) -> tuple[int | None, str, str]:
    """A program in a folder of a user's own, with nothing of this environment's."""
    file = folder / "program.py"
    file.write_text(program)
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(file),
        *arguments,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            told, fault = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, told.decode(), fault.decode()
