"""Imports files of the user's, and says in one line what is wrong with one that does not import."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from _taskqueue.domain.errors import HandlerError
from _taskqueue.tasks.folders import aliases

_DISTRIBUTIONS = {
    "Crypto": "pycryptodome", "MySQLdb": "mysqlclient", "OpenSSL": "pyOpenSSL", "PIL": "pillow", "attr": "attrs", "bs4": "beautifulsoup4",
    "cv2": "opencv-python", "dateutil": "python-dateutil", "distutils": "setuptools", "docx": "python-docx", "dotenv": "python-dotenv",
    "fitz": "pymupdf", "git": "GitPython", "jose": "python-jose", "jwt": "PyJWT", "magic": "python-magic", "pkg_resources": "setuptools",
    "psycopg2": "psycopg2-binary", "pptx": "python-pptx", "serial": "pyserial", "skimage": "scikit-image", "sklearn": "scikit-learn",
    "slugify": "python-slugify", "usb": "pyusb", "yaml": "PyYAML", "zmq": "pyzmq",
}  # fmt: skip
"""where a module is installed from, when that has another name"""


def import_file(name: str, file: Path | None = None) -> ModuleType:
    """Import a module of the user's.

    Args:
        file: where it stands, as far as is known.

    Raises:
        HandlerError: it does not import; names the file, the line, and what to do.
    """
    try:
        return importlib.import_module(name)
    except HandlerError as error:
        raise HandlerError(f"{_place(error, name, file)}: {error}") from None
    except ModuleNotFoundError as error:
        if file is None and error.name and (name == error.name or name.startswith(f"{error.name}.")):
            searched = ", ".join(path or "." for path in sys.path[:3])
            raise HandlerError(f"there is no handler module {name!r} (searched {searched}, …); see --handlers") from None
        raise HandlerError(f"{_place(error, name, file)}: {text_of(error)}{_remedy(error.name, name, file)}") from None
    except SyntaxError as error:
        place = f"{error.filename}:{error.lineno}" if isinstance(error.filename, str) and error.lineno else _place(error, name, file)
        raise HandlerError(f"{place}: {type(error).__name__}: {error.msg or text_of(error)}") from None
    except BaseException as error:  # noqa: BLE001 - whatever the user's file raises; signals come another way
        raise HandlerError(f"{_place(error, name, file)}: {type(error).__name__}: {text_of(error)}") from None


def text_of(error: BaseException) -> str:
    """An exception's text in one line, whatever its class does when it is asked."""
    try:
        return " ".join(str(error).split())
    except BaseException:  # noqa: BLE001 - code of the user's
        return "(its text cannot be shown)"


def _place(error: BaseException, name: str, file: Path | None) -> str:
    """File and line in the user's code nearest to the error."""
    ours = str(Path(__file__).parent.parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<frozen")) and "importlib" not in frame.filename
    ]
    if frames:
        return f"{frames[-1].filename}:{frames[-1].lineno}"
    return str(file) if file is not None else f"handler module {name}"


def _remedy(missing: str | None, importing: str, file: Path | None) -> str:
    """What to do about a module that is not there."""
    top = (missing or "").partition(".")[0]
    if not top or top in sys.modules or top in aliases().folders:
        return ""
    if file is not None and ((file.parent / f"{top}.py").is_file() or (file.parent / top).is_dir()):
        package = importing if file.name == "__init__.py" else importing.rpartition(".")[0]
        return f"; it stands beside this file: write `from {package} import {top}`"
    if top in sys.stdlib_module_names:
        return "; this Python was built without it"
    with suppress(ImportError, ValueError):
        if importlib.util.find_spec(top) is not None:
            return ""
    return f"; install it: pip install {_DISTRIBUTIONS.get(top, top.replace('_', '-'))}"


def helpers(modules: Mapping[Path, str]) -> set[Path]:
    """Those files that others of them import by name.

    Args:
        modules: file → the name of its module.
    """
    imported = {file: _imports(file) for file in modules}
    return {file for file, name in modules.items() if any(name in names for other, names in imported.items() if other != file)}


def _imports(file: Path) -> set[str]:
    import ast  # needed for files without tasks alone

    found: set[str] = set()
    with suppress(OSError, SyntaxError, ValueError, RecursionError):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                found.update(part for one in node.names for part in one.name.split("."))
            if isinstance(node, ast.ImportFrom):
                found.update((node.module or "").split("."))
    return found
