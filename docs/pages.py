"""A hook of MkDocs: pages of the site that lie outside of docs/, and links to files that are no pages."""

import re
from pathlib import Path
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = {  # of the repository: their place in the site
    "README.md": "index.md",
    "RESULTS.md": "RESULTS.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "SECURITY.md": "SECURITY.md",
}
CURVES = "experiments/results/curves"  # shown by RESULTS.md
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, place in OUTSIDE.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    for curve in sorted((ROOT / CURVES).glob("*.svg")):
        files.append(File.generated(config, f"{CURVES}/{curve.name}", content=curve.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links are those of the repository: lead them to the pages; of a file that is no page, its name is left."""
    places = {place: source for source, place in OUTSIDE.items()}
    here = places.get(page.file.src_uri, f"docs/{page.file.src_uri}")  # in the repository

    def moved(link: re.Match[str]) -> str:
        image, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        there = normpath(f"{here.rpartition('/')[0]}/{target}".lstrip("/"))
        place = OUTSIDE.get(there, there.removeprefix("docs/"))
        if place not in files.src_uris and (ROOT / there).exists():
            return text
        start = page.file.src_uri.rpartition("/")[0]
        return f"{image}[{text}]({relpath(place, start or '.')}{anchor})"

    return _LINK.sub(moved, markdown)
