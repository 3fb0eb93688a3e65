"""gateway/process/page_files.py: what of the page's folder is answered, and where."""

from __future__ import annotations

from pathlib import Path

from gateway.process.page_files import load_page_files
from tests.unit.gateway.headless_browser import WEB_FOLDER


def test_the_shipped_page_is_at_the_root_and_its_files_below_web() -> None:
    """The page names its files as web/…, so that it also works behind a path of its own."""
    files = load_page_files()

    assert b"web/app.js" in files["/"].body
    assert files["/web/app.js"].content_type.startswith("text/javascript")
    assert "/index.html" not in files


def test_hidden_files_and_links_are_not_served(tmp_path: Path) -> None:
    """Only plain visible files inside the folder."""
    (tmp_path / "index.html").write_text("page")
    (tmp_path / ".secret").write_text("no")
    (tmp_path / "link.js").symlink_to(Path(__file__))

    assert set(load_page_files(tmp_path)) == {"/"}


def test_without_the_folder_nothing_is_served(tmp_path: Path) -> None:
    """The gateway also runs where the page was left out."""
    assert load_page_files(tmp_path / "absent") == {}


def test_the_page_names_only_files_that_are_there() -> None:
    """Works offline: every address in the page, the styles and the modules is one of ours."""
    texts = {path.name: path.read_text() for path in WEB_FOLDER.iterdir() if path.is_file() and path.suffix != ".md"}
    page = texts["index.html"]

    assert "<style" not in page
    assert " style=" not in page
    assert " onclick=" not in page
    for name, text in texts.items():
        assert "innerHTML" not in text, name
        assert "url(" not in text, name
        for line in text.splitlines():
            if line.startswith(("import ", "} from ")):
                imported = line.rsplit('"', 2)[1]
                assert (WEB_FOLDER / imported).is_file(), f"{name} imports {imported}"


def test_the_page_serves_what_it_vendors_with_its_licences() -> None:
    """Scripts as scripts, licences as text; what says where they are from stays here."""
    files = load_page_files()
    vendored = {path: file for path, file in files.items() if path.startswith("/web/vendor/")}

    assert {Path(path).suffix for path in vendored} == {".js", ".mjs", ".txt"}
    assert all(file.content_type.startswith("text/") for file in vendored.values())
    assert {Path(path).parent for path in vendored} == {
        Path(path).parent for path in vendored if path.endswith("/LICENSE.txt")
    }
