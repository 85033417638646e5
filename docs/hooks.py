"""What the site's build adds to the folder docs: pages that lie elsewhere in the repository.

The README, the changelog and the like stay where a reader of the repository looks for them. The
site shows them as pages, and their links lead to the site's pages. A link to a file that is no
page, such as a script, becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# Path in the repository -> path on the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "deploy/README.md": "deploy.md",
    "examples/README.md": "examples.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside the folder docs."""
    for source, target in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source == "examples/README.md":
            text += _listings()
        files.append(File.generated(config, target, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the page's links at the site's pages."""
    sources = {target: source for source, target in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def replace(match: re.Match[str]) -> str:
        bang, text, link, anchor = match.groups(default="")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        if not (ROOT / path).exists():
            raise ValueError(f"{source}: the link {link} leads to no file")
        if path in PAGES:
            return f"{bang}[{text}]({PAGES[path]}{anchor})"
        if path.startswith("docs/"):
            return f"{bang}[{text}]({path.removeprefix('docs/')}{anchor})"
        if path.startswith("examples/"):
            return f"[{text}]({PAGES['examples/README.md']})"  # the page lists the sources
        return text

    return LINK.sub(replace, markdown)


def on_post_page(output: str, **_: object) -> str:
    """Take the script for searching pages on disk from the site, not from another host."""
    return output.replace("https://unpkg.com/iframe-worker/shim", "search-from-disk.js")


def on_post_template(output: str, **_: object) -> str:
    """Do the same for the page 404.html."""
    return on_post_page(output)


def _listings() -> str:
    """The examples' sources, which the repository shows as files."""
    scripts = sorted((ROOT / "examples").rglob("*.py"))
    return "".join(
        f"\n## {path.relative_to(ROOT)}\n\n```python\n{path.read_text(encoding='utf-8')}```\n"
        for path in scripts
    )
