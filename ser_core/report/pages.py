"""Self-contained HTML pages: they load nothing from elsewhere.

Templates are in `templates/` and extend `page.html.jinja`, which has the styles for screens, phones
and paper. All values are escaped, so that a label or a file name is always shown as text.
"""

from __future__ import annotations

import base64
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_core import __version__
from ser_core.errors import SerError

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **about: Any) -> str:
    """Render a page.

    Parameters
    ----------
    template : str
        Name of a file in `templates/`, without `.html.jinja`.
    about : Any
        Values of the template. Pictures are PNG bytes, shown by the filter `picture`.
    """
    return _templates().get_template(f"{template}.html.jinja").render(version=__version__, **about)


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
    templates.filters |= {"picture": data_uri, "percent": percent}
    return templates
