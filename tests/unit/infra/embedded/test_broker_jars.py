"""The broker's jars: the list, and downloads that fail. Nothing here uses the network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from jgo.maven import MavenContext
from jgo.parse import Coordinate

from infra.embedded import broker_jars
from infra.embedded.broker_jars import BrokerJar, BrokerJarsUnavailable, digest, fetch, read_list, resolve_broker_jars
from tests.integration.broker_release import RELEASE_LISTS


class NoNetwork:
    """A resolver whose every download fails; `bytes_given` pretends one that delivers these."""

    def __init__(self, bytes_given: bytes | None = None) -> None:
        self.bytes_given = bytes_given
        self.downloads = 0

    def download(self, artifact: Any) -> Path:
        self.downloads += 1
        if self.bytes_given is None:
            raise ConnectionError("unreachable")
        path = Path(artifact.cached_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.bytes_given)
        return path


def artifact_in(folder: Path, resolver: NoNetwork) -> Any:
    context = MavenContext(repo_cache=folder, resolver=resolver)
    return context.create_dependency(Coordinate.parse("org.example:thing:1.0")).artifact


def jar_of(content: bytes, folder: Path) -> BrokerJar:
    (folder / "content").write_bytes(content)
    return BrokerJar("org.example:thing:1.0", len(content), digest(folder / "content"))


@pytest.mark.parametrize("release", RELEASE_LISTS)
def test_list_of_jars(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Kafka, all of one version, with a log binding; every line has a digest."""
    monkeypatch.setattr(broker_jars, "LOCK_LIST", RELEASE_LISTS[release])
    jars = read_list()
    kafka_versions = {jar.coordinate.split(":")[2] for jar in jars if jar.coordinate.startswith("org.apache.kafka:")}

    assert kafka_versions == {release}
    assert any("log4j-slf4j-impl" in jar.coordinate for jar in jars)
    assert all(len(jar.sha256) == 64 and jar.size_bytes > 0 for jar in jars)
    assert len({jar.coordinate for jar in jars}) == len(jars)


def test_no_network(tmp_path: Path) -> None:
    """The sentence says what is missing and both ways out."""
    resolver = NoNetwork()
    with pytest.raises(BrokerJarsUnavailable, match=r"org\.example:thing.*check the network.*TOKENWIRE_KAFKA "):
        fetch(jar_of(b"expected", tmp_path), artifact_in(tmp_path / "maven", resolver))

    assert resolver.downloads == broker_jars.DOWNLOAD_ATTEMPTS_MAX


def test_download_was_tampered_with(tmp_path: Path) -> None:
    """Other bytes than promised are refused and not left behind."""
    artifact = artifact_in(tmp_path / "maven", NoNetwork(b"something else"))
    with pytest.raises(BrokerJarsUnavailable, match="SHA-256"):
        fetch(jar_of(b"expected", tmp_path), artifact)

    assert not Path(artifact.cached_path).exists()


def test_earlier_download_was_cut_short(tmp_path: Path) -> None:
    """The part that is there is thrown away and the jar is fetched again."""
    resolver = NoNetwork(b"expected")
    artifact = artifact_in(tmp_path / "maven", resolver)
    path = Path(artifact.cached_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"exp")
    fetch(jar_of(b"expected", tmp_path), artifact)

    assert path.read_bytes() == b"expected"
    assert resolver.downloads == 1


def test_another_process_downloads(tmp_path: Path) -> None:
    """The second one waits for the first one's lock, and gives up at its deadline with a sentence."""
    with (
        broker_jars.one_downloader(tmp_path),
        pytest.raises(BrokerJarsUnavailable, match="Another process"),
        broker_jars.one_downloader(tmp_path, deadline_s=0.0),
    ):
        pass


def test_all_jars_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded and nobody is told of progress."""
    monkeypatch.setattr(broker_jars, "LOCK_LIST", tmp_path / "list")
    (tmp_path / "list").write_text("# nothing is needed\n")
    (tmp_path / f"verified-{broker_jars.list_digest()}").touch()
    told = threading.Event()

    assert resolve_broker_jars(tmp_path, lambda _: told.set()) == ()
    assert not told.is_set()
