"""The agent as it is sent to a host, and the command there that takes it."""

import hashlib
import re
import shlex
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from rackhand import agent
from rackhand.agent import layout

#: Python on the host older than this is refused.
OLDEST_PYTHON = (3, 10)

#: Exit codes of the command before the agent runs.
REFUSED, NO_PYTHON = 72, 73

# Reads the agent from its standard input and imports it from memory. It is a child of what was started, so that it can
# leave the session of the connection. It is forked off while there is little in memory: what both have, the kernel
# copies as soon as it is touched. In its short life, to look for cycles of garbage is a waste, and so is to tidy up at
# its end.
_BOOTSTRAP = """\
import gc,os,sys
gc.disable()
if sys.version_info<{oldest}:
 print("rackhand: Python {wanted} or later is needed, and the host has "+sys.version.split()[0],file=sys.stderr)
 sys.exit({refused})
p=os.fork()
if p:os._exit(os.waitstatus_to_exitcode(os.waitpid(p,0)[1]))
n={size}
z=b""
while len(z)<n:
 b=os.read(0,n-len(z))
 if not b:sys.exit({refused})
 z+=b
try:
 import zlib
 s=zlib.decompress(z).decode().split("\\0")
 s=dict(zip(s[::2],s[1::2]))
 i=sys.modules["rackhand.agent.importer"]=type(sys)("rackhand.agent.importer")
 exec(compile(s["{importer}"],"{importer}","exec"),i.__dict__)
 i.install(s,"{digest}","{cache}")
 from rackhand.agent.main import main
except ImportError as e:
 print("rackhand: the host's Python lacks parts of its library (%s): apt-get install python3"%e,file=sys.stderr)
 sys.exit({refused})
c=main()
sys.stderr.flush()
os._exit(c)
"""

# Installs Python where a host has none, in the same connection.
_LAUNCH = """\
if ! command -v {python} >/dev/null 2>&1; then
  if [ {python} != python3 ]; then
    echo "rackhand: the host has no" {python} "(ansible_python_interpreter)" >&2; exit {refused}
  elif ! command -v apt-get >/dev/null 2>&1; then
    echo "rackhand: the host has no apt: Rackhand manages Debian and Ubuntu hosts" >&2; exit {refused}
  elif [ {install} = no ]; then
    echo "rackhand: the host has no Python 3: a deploy installs it first" >&2; exit {no_python}
  elif [ ! -d /run/systemd/system ]; then
    echo "rackhand: systemd is not running as init: Rackhand manages services through it" >&2; exit {refused}
  elif [ "$(id -u)" != 0 ]; then
    echo "rackhand: not root on the host: set ansible_become: true, or connect as root" >&2; exit {refused}
  fi
  export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 tries=300
  # A new VM is often busy with an update of its own: apt waits for the lock on packages, not for that on its lists.
  until said=$(apt-get -qq update 2>&1 </dev/null); do
    case $said in *lists/lock*) tries=$((tries - 1)) ;; *) break ;; esac
    [ $tries -gt 0 ] && sleep 1 || break
  done
  install="apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 install python3"
  said="$said
$($install 2>&1 </dev/null)" || {{
    echo "rackhand: Python 3 could not be installed: $(echo "$said" | grep -m 1 '^[EW]:')" >&2; exit {refused}
  }}
fi
exec {python} -I -S -B -c {bootstrap}
"""


# A comment on a line of its own. An empty line takes its place: a traceback has the numbers of the source.
_COMMENT = re.compile(r"^ *#.*$", re.MULTILINE)


@cache
def sources() -> Mapping[str, str]:
    """The agent's modules, by their paths below the folder that would be on the host's `sys.path`."""
    folder = Path(agent.__file__).parent
    return {"rackhand/__init__.py": ""} | {
        f"rackhand/agent/{path.relative_to(folder).as_posix()}": _COMMENT.sub("", path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    }


@cache
def packed() -> bytes:
    """The sources as they are sent, each behind its path: compressed as a whole, the same bytes for the same source. A
    higher level takes twice as long for half a percent."""
    text = "\0".join(part for module in sources().items() for part in module)
    return zlib.compress(text.encode(), 6)


@cache
def digest() -> str:
    """What tells these sources from others."""
    return hashlib.sha256(packed()).hexdigest()[:16]


def command(*, install_python: bool, interpreter: str | None) -> str:
    """A shell command that reads the packed agent from its standard input and becomes the agent. Without an
    interpreter, the host's own python3 is meant, which is installed where it is missing."""
    bootstrap = _BOOTSTRAP.format(
        oldest=OLDEST_PYTHON,
        wanted=".".join(map(str, OLDEST_PYTHON)),
        refused=REFUSED,
        size=len(packed()),
        importer="rackhand/agent/importer.py",
        digest=digest(),
        cache=layout.AGENT,
    )
    launch = _LAUNCH.format(
        python=shlex.quote(interpreter or "python3"),
        refused=REFUSED,
        no_python=NO_PYTHON,
        install="yes" if install_python else "no",
        bootstrap=shlex.quote(bootstrap),
    )
    return f"sh -c {shlex.quote(launch)}"
