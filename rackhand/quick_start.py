"""To be imported before Invoke: lets it do without unittest.mock.

Invoke imports that for a class with which tasks are tested, and asyncio comes along: an eighth of the time in which a
command starts.
"""

import sys
import types

if "unittest.mock" not in sys.modules:
    _mock = types.ModuleType("unittest.mock")
    _mock.__dict__["Mock"] = None
    sys.modules["unittest.mock"] = _mock
    import invoke.context  # noqa: F401  # it keeps what it has imported

    del sys.modules["unittest.mock"]
