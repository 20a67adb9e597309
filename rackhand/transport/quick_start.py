"""To be imported before paramiko: lets it do without importlib.metadata, which it asks for its own version, and with
which parsers of mail come along.
"""

import importlib
import os
import sys
from types import SimpleNamespace

_SUFFIX = ".dist-info"


def _version(name: str) -> str:
    """That of a package which is being imported: its metadata lies beside it, in a folder that is named after it."""
    beside = os.listdir(os.path.dirname(sys.modules[name].__path__[0]))
    found = [entry for entry in beside if entry.startswith(f"{name}-") and entry.endswith(_SUFFIX)]
    if len(found) == 1:
        return found[0].removeprefix(f"{name}-").removesuffix(_SUFFIX)
    from importlib.metadata import version

    return version(name)


if "importlib.metadata" not in sys.modules:
    _stand_in = SimpleNamespace(version=_version)
    importlib.__dict__["metadata"] = _stand_in
    import paramiko  # noqa: F401  # it keeps what it was told

    if importlib.__dict__["metadata"] is _stand_in:
        del importlib.__dict__["metadata"]
