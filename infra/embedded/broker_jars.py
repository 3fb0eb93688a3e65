"""The broker's jars: 45 MB from Maven Central the first time, from the folder ever after.

What belongs to the broker is written down in `broker_jars.lock`: coordinate, size and SHA-256 of every jar. jgo fetches
them by their coordinates; a jar whose bytes differ is thrown away, so a download cut short or tampered with is never
run. The list itself is made by jgo's resolver (`python -m infra.embedded.broker_jars --write-list`), with one trap: a
coordinate without jgo's "raw" mark has its dependency management applied to all others, and log4j's would bring in
the Kafka client of another version.

Nothing is written outside the given folder: jgo's own entry points read the user's settings and keep caches in the
user's home, and its environment builder downloads a second Java; its Maven context does neither.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.connection_faults import connection_fault
from infra.embedded_parts import EmbeddedPart, EmbeddedPartsMissing, require_embedded
from infra.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

__all__ = [
    "BrokerJar",
    "BrokerJarsUnavailable",
    "JarsProgress",
    "class_path_of",
    "jars_folder",
    "resolve_broker_jars",
    "resolve_broker_jars_async",
    "show_progress",
    "start_cache_file",
]

LOCK_LIST: Final = Path(__file__).with_name("broker_jars.lock")
LIST_HEADER: Final = "# The broker's jars: Maven coordinate, bytes, SHA-256; checked after every download.\n"
LIST_MAKER: Final = "python -m infra.embedded.broker_jars --write-list"
ROOTS: Final = ("org.apache.kafka:kafka_2.13:4.2.0",)
LOG_ROOTS: Final = ("org.apache.logging.log4j:log4j-slf4j-impl:2.25.5",)
NEWER_ROOTS: Final = (
    "com.fasterxml.jackson.core:jackson-core:2.21.8",
    "com.fasterxml.jackson.core:jackson-databind:2.21.8",
    "com.fasterxml.jackson.dataformat:jackson-dataformat-csv:2.21.8",
    "com.fasterxml.jackson.dataformat:jackson-dataformat-yaml:2.21.8",
    "com.fasterxml.jackson.datatype:jackson-datatype-jdk8:2.21.8",
    "at.yawk.lz4:lz4-java:1.11.4",
)
"""Newer than this Kafka asks for, because of what was published against those (`make audit`)."""
RAW_ROOTS: Final = (*LOG_ROOTS, *NEWER_ROOTS)
DOWNLOADS_AT_ONCE: Final = 4
DOWNLOAD_ATTEMPTS_MAX: Final = 3
READ_DEADLINE_S: Final = 30
CHECK_NETWORK: Final = "check the network or HTTPS_PROXY"
TRUST_AUTHORITY: Final = "set REQUESTS_CA_BUNDLE to a file with the authority of its certificate, or of your proxy's,"
"""jgo fetches by `requests`, which reads this variable (or CURL_CA_BUNDLE) and not SSL_CERT_FILE."""
OTHER_DOWNLOADER_DEADLINE_S: Final = 300.0
OTHER_DOWNLOADER_POLL_S: Final = 0.2
MEGABYTE: Final = 1_000_000


class BrokerJarsUnavailable(Exception):
    """The jars are not in the folder and could not be fetched. The operator mends the network and starts again."""


@dataclass(frozen=True, slots=True)
class BrokerJar:
    """One line of the list."""

    coordinate: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class JarsProgress:
    """How far the download has come."""

    jars_done: int
    jars_total: int
    bytes_done: int
    bytes_total: int


def jars_folder(home: Path) -> Path:
    """Where the jars are kept below the folder of everything kept."""
    return home / "cache" / "jars"


def class_path_of(jars: Sequence[Path]) -> str:
    """What Java is told of them."""
    return ":".join(str(jar) for jar in jars)


def start_cache_file(folder: Path, java: Path, jars: Sequence[Path]) -> Path:
    """Where the start cache of these jars under this Java is kept, made or not (`start_cache.py`)."""
    release = (java.parent.parent / "release").read_bytes()
    return folder / f"start-{hashlib.sha256(release + class_path_of(jars).encode()).hexdigest()[:16]}.aot"


def resolve_broker_jars(folder: Path, on_progress: Callable[[JarsProgress], None] | None = None) -> tuple[Path, ...]:
    """The jars of the class path, downloaded into `folder` where they are missing; blocks while it does.

    `on_progress` is called after each jar of a download, never when all are there. Several processes may call this
    for one folder at once. Raises BrokerJarsUnavailable, EmbeddedPartsMissing.
    """
    context = maven_context(folder)
    from jgo.parse import Coordinate

    jars = read_list()
    artifacts = [context.create_dependency(Coordinate.parse(jar.coordinate)).artifact for jar in jars]
    paths = tuple(path_of(artifact) for artifact in artifacts)
    mark = folder / f"verified-{list_digest()}"
    if mark.exists() and all(has_size(path, jar) for path, jar in zip(paths, jars, strict=True)):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    with one_downloader(folder):
        download(jars, artifacts, on_progress)
        mark.touch()
    return paths


async def resolve_broker_jars_async(
    folder: Path, on_progress: Callable[[JarsProgress], None] | None = None
) -> tuple[Path, ...]:
    """`resolve_broker_jars` off the event loop; `on_progress` is called on another thread.

    Cancellation: the download goes on in its thread until its own deadlines, and is kept.
    """
    return await asyncio.to_thread(resolve_broker_jars, folder, on_progress)


def maven_context(folder: Path) -> MavenContext:
    require_embedded(EmbeddedPart.BROKER)
    from jgo.maven import MavenContext

    # Links are followed: Java takes its start cache only where the class path reads as it did when that was made.
    return MavenContext(repo_cache=(folder / "maven").resolve(), timeout=READ_DEADLINE_S)


def download(
    jars: Sequence[BrokerJar], artifacts: Sequence[Artifact], on_progress: Callable[[JarsProgress], None] | None
) -> None:
    bytes_done = 0
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="broker-jars") as pool:
        tasks = {pool.submit(fetch, jar, artifact): jar for jar, artifact in zip(jars, artifacts, strict=True)}
        try:
            for jars_done, task in enumerate(as_completed(tasks), start=1):
                task.result()
                bytes_done += tasks[task].size_bytes
                if on_progress is not None:
                    on_progress(JarsProgress(jars_done, len(jars), bytes_done, sum(jar.size_bytes for jar in jars)))
        except BaseException:  # Ctrl-C too: fetches that have not begun would hold the process up
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def fetch(jar: BrokerJar, artifact: Artifact) -> None:
    """Make sure the jar is there with the bytes that the list promises."""
    path = path_of(artifact)
    fault, remedy = "", CHECK_NETWORK
    for _ in range(DOWNLOAD_ATTEMPTS_MAX):
        try:
            if path.exists() and digest(path) == jar.sha256:
                return
            path.unlink(missing_ok=True)
            artifact.resolve()
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo raises RuntimeError for a 404
            fault = type(error).__name__
            remedy = TRUST_AUTHORITY if connection_fault(error) == "certificate" else CHECK_NETWORK
        else:
            if digest(path) == jar.sha256:
                return
            fault = "its SHA-256 is not the one expected"
    path.unlink(missing_ok=True)
    raise BrokerJarsUnavailable(
        f"Could not fetch {jar.coordinate} from Maven Central ({fault}). The Kafka broker's jars (45 MB) are needed "
        f"once; {remedy} and start again, or set TOKENWIRE_KAFKA to use an existing broker."
    )


@contextmanager
def one_downloader(folder: Path, deadline_s: float = OTHER_DOWNLOADER_DEADLINE_S) -> Iterator[None]:
    """Hold the folder's lock; the kernel frees it when a holder dies."""
    give_up_s = time.monotonic() + deadline_s
    with (folder / "download.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_s:
                    raise BrokerJarsUnavailable(
                        f"Another process has been downloading into {folder} too long."
                    ) from None
                time.sleep(OTHER_DOWNLOADER_POLL_S)
        yield


def read_list() -> tuple[BrokerJar, ...]:
    lines = [line.split() for line in LOCK_LIST.read_text().splitlines() if line and not line.startswith("#")]
    return tuple(BrokerJar(coordinate, int(size), sha256) for coordinate, size, sha256 in lines)


def list_digest() -> str:
    return digest(LOCK_LIST)[:16]


def path_of(artifact: Artifact) -> Path:
    path: Path | None = artifact.cached_path
    assert path is not None, "the Maven context was given a folder"
    return path


def has_size(path: Path, jar: BrokerJar) -> bool:
    try:
        return path.stat().st_size == jar.size_bytes
    except FileNotFoundError:
        return False


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_list(
    folder: Path,
    list_file: Path = LOCK_LIST,
    *,
    roots: Sequence[str] = ROOTS,
    raw_roots: Sequence[str] = RAW_ROOTS,
    maker: str = LIST_MAKER,
) -> None:
    """Resolve the roots anew and write the list: run this after changing a version above, and read the difference."""
    context = maven_context(folder)
    from jgo.parse import Coordinate

    dependencies = [
        context.create_dependency(replace(Coordinate.parse(text), scope="compile", raw=text in raw_roots))
        for text in (*roots, *raw_roots)
    ]
    inputs, transitive = context.resolver.resolve(dependencies)
    lines = []
    for dependency in (*inputs, *transitive):
        if dependency.scope in ("compile", "runtime"):
            path = Path(dependency.artifact.resolve())
            coordinate = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
            lines.append(f"{coordinate} {path.stat().st_size} {digest(path)}\n")
    list_file.write_text(f"{LIST_HEADER}# Made by `{maker}`.\n{''.join(sorted(lines))}")


def show_progress(progress: JarsProgress) -> None:
    """One line that grows over itself in a terminal; in a log, a few lines."""
    text = f"  {progress.jars_done} of {progress.jars_total} jars, {progress.bytes_done / MEGABYTE:.0f} MB"
    if sys.stdout.isatty():
        sys.stdout.write(f"\r{text}" + ("\n" if progress.jars_done == progress.jars_total else ""))
    elif progress.jars_done % (progress.jars_total // 4 + 1) == 0 or progress.jars_done == progress.jars_total:
        sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Fetch the jars for the home folder in force, or with --write-list make the list anew; an exit code."""
    try:
        folder = jars_folder(load_settings().home)
        if arguments == ["--write-list"]:
            write_list(folder)
        else:
            resolve_broker_jars(folder, show_progress)
    except (SettingsError, BrokerJarsUnavailable, EmbeddedPartsMissing) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
