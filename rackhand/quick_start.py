"""To be imported before Invoke: lets it do without what it imports and no command needs, a sixth of the time in which
one starts.

- unittest.mock, of which it has a class with which tasks are tested; asyncio comes along.
- a copy of PyYAML; it takes PyYAML itself, as in distributions, which leave such copies out.
"""

import sys
import types

import yaml

sys.modules.setdefault("invoke.vendor.yaml", yaml)

if "unittest.mock" not in sys.modules:
    _mock = types.ModuleType("unittest.mock")
    _mock.__dict__["Mock"] = None
    sys.modules["unittest.mock"] = _mock
    import invoke.context  # noqa: F401  # it keeps what it has imported

    del sys.modules["unittest.mock"]
