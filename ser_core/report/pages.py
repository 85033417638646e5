"""Self-contained HTML pages: they load nothing from elsewhere.

Templates are in `templates/` and extend `page.html.jinja`, which has the styles for screens, phones
and paper. All values are escaped, so that a label or a file name is always shown as text.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_core import __version__
from ser_core.errors import SerError

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


# What a page may load: nothing, but for its own style and scripts, told by their hashes, and
# pictures that it holds. Attributes `style` and `on…` have no effect. A page takes it by
# {% block policy %}{{ strict_policy }}{% endblock %}, with what else it needs behind it.
STRICT_POLICY = (
    "default-src 'none'; img-src data:; style-src STYLE-HASHES; script-src SCRIPT-HASHES; "
    "base-uri 'none'; form-action 'none'"
)
_INLINE = {
    "STYLE-HASHES": re.compile(r"<style>(.*?)</style>", re.DOTALL),
    "SCRIPT-HASHES": re.compile(r"<script>(.*?)</script>", re.DOTALL),
}


def render(template: str, **about: Any) -> str:
    """Render a page.

    Parameters
    ----------
    template : str
        Name of a file in `templates/`, without `.html.jinja`.
    about : Any
        Values of the template. Pictures are PNG bytes, shown by the filter `picture`.
    """
    page = _templates().get_template(f"{template}.html.jinja")
    return _with_hashes(page.render(version=__version__, strict_policy=STRICT_POLICY, **about))


def _with_hashes(page: str) -> str:
    """Put the hashes of its style and scripts into the policy of a page."""
    for word, inline in _INLINE.items():
        hashes = [hashlib.sha256(text.encode()).digest() for text in inline.findall(page)]
        sources = [f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in hashes]
        page = page.replace(word, " ".join(sources) or "'none'", 1)
    return page


def script(name: str) -> Markup:
    """A script of `templates/`, for a template to place between <script> and </script>."""
    from markupsafe import Markup

    text = (files("ser_core.report") / "templates" / f"{name}.js").read_text(encoding="utf-8")
    return Markup(text)


def write(path: str | os.PathLike, page: str) -> Path:
    """Write a page completely or not at all.

    Raises
    ------
    SerError
        The page cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(page)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(part, 0o666 & ~mask)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
    except OSError as error:
        raise SerError(f"{path}: the page cannot be written: {error.strerror}") from error
    return path


def percent(value: float | None, digits: int = 1) -> str:
    """Share in percent, such as "68.3 %"; a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def code(text: str) -> Markup:
    """A text in which `words` between backticks are shown as code; all else is text.

    Examples
    --------
    >>> code("see `ser <b>`")
    Markup('see <code>ser &lt;b&gt;</code>')
    """
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def data_uri(png: bytes) -> str:
    """URI that holds a PNG itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    templates = Environment(
        loader=PackageLoader("ser_core.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"picture": data_uri, "percent": percent, "code": code}
    return templates
