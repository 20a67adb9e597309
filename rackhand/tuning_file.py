"""Writes what a tuning has found to the file of a host's variables, and leaves all else in it as it is."""

from collections.abc import Mapping
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rackhand.errors import UserError
from rackhand.inventory import Host, shown
from rackhand.inventory.documents import HOST

#: The variable. Not `apps`: one of a host's own would hide that of its groups, and with it what is secret in there.
VARIABLE = "rackhand_tuning"

#: What of an application is tuned, in the order in which it is written.
KEYS = ("worker", "workers", "threads")

Values = Mapping[str, str | int]


def place(folder: Path, host: Host) -> Path:
    """The file for a host's tuning: the host's own that sets the variable already, else the one that holds the host's
    other variables in the folder of the inventory, else a new one there. Raises UserError when the variable is set
    where it is not the host's alone, or is stronger than any file."""
    for found in host.vars.definitions(VARIABLE)[-1:]:
        if found.scope != HOST or len(found.path) > 1:
            raise UserError(f"{found.origin()}: {VARIABLE} is set here, and one of the host's own would hide it")
        return Path(found.document.file).resolve()
    own = folder.resolve() / "host_vars" / host.name
    candidates = (own.with_name(host.name + suffix) for suffix in ("", ".yml", ".yaml", ".json"))
    path = next((path for path in candidates if path.exists()), own.with_name(f"{host.name}.yml"))
    return path / f"{VARIABLE}.yml" if path.is_dir() else path


def write(file: Path, app: str, values: Values, *, check: bool = False) -> None:
    """Sets the values in a file, which need not exist; with `check`, only sees whether that can be done. Raises
    UserError."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    after = edited(text, app, values)
    if after is None:
        raise UserError(
            f"{shown(file)}: is not written in a way that Rackhand can change: set {VARIABLE} there by hand"
        )
    if check:
        return
    file.parent.mkdir(exist_ok=True)
    new = file.with_name(f".{file.name}.new~")
    new.write_text(after, encoding="utf-8")
    if file.exists():
        new.chmod(file.stat().st_mode & 0o777)
    new.replace(file)


def edited(text: str, app: str, values: Values) -> str | None:
    """The text of a YAML file with these values for the application; None when it cannot be changed so that all else,
    comments too, stays as it is."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        after = _edited(text, root, app, values)
        if after is None or _plain(yaml.compose(after, Loader=yaml.SafeLoader)) != _wanted(root, app, values):
            return None
        return after
    except (yaml.YAMLError, RecursionError):
        return None


def _edited(text: str, root: Node | None, app: str, values: Values) -> str | None:
    if root is None or _get(root, VARIABLE) is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}{_block({app: values})}"
    found = _get(root, VARIABLE)
    assert found is not None
    if _get(found[1], app) is None:
        return _inserted(text, found, {app: values})
    found = _get(found[1], app)
    assert found is not None
    own = found[1]
    if not isinstance(own, MappingNode) or own.flow_style:
        return None
    new = {key: value for key, value in values.items() if _get(own, key) is None}
    edits = []
    for key, value in own.value:
        start, end = value.start_mark.index, value.end_mark.index
        if key.value in values:
            edits.append((start, end, str(values[key.value])))
        elif key.value in KEYS:
            edits.append((key.start_mark.index - key.start_mark.column, text.find("\n", end) + 1 or len(text), ""))
    for start, end, words in reversed(edits):
        text = text[:start] + words + text[end:]
    return _inserted(text, found, new)


def _inserted(text: str, found: tuple[Node, Node], values: Mapping[str, object]) -> str | None:
    """With more entries at the beginning of a mapping that stands in lines of its own."""
    key, mapping = found
    if not isinstance(mapping, MappingNode) or mapping.flow_style or not mapping.value:
        return None
    if not values:
        return text
    line = text.find("\n", key.end_mark.index) + 1
    indent = " " * mapping.value[0][0].start_mark.column
    added = "".join(f"{indent}{row}\n" for row in yaml.safe_dump(dict(values), sort_keys=False).splitlines())
    return text[:line] + added + text[line:]


def _block(apps: Mapping[str, Values]) -> str:
    return yaml.safe_dump({VARIABLE: {app: dict(values) for app, values in apps.items()}}, sort_keys=False)


def _get(node: Node, name: str) -> tuple[Node, Node] | None:
    """Key and value of an entry of a mapping."""
    pairs = node.value if isinstance(node, MappingNode) else ()
    return next(((key, value) for key, value in pairs if key.value == name), None)


def _plain(node: Node | None) -> object:
    """What a document says, whatever its tags mean, so that two can be compared."""
    if isinstance(node, ScalarNode):
        return node.tag, node.value
    if isinstance(node, SequenceNode):
        return [_plain(item) for item in node.value]
    if isinstance(node, MappingNode):
        return {str(_plain(key)): _plain(value) for key, value in node.value}
    return {}


def _wanted(root: Node | None, app: str, values: Values) -> object:
    """What the document has to say afterwards."""
    said = _plain(root)
    if not isinstance(said, dict):
        return None
    variable, name = (str(("tag:yaml.org,2002:str", text)) for text in (VARIABLE, app))
    tuned = said.setdefault(variable, {})
    own = tuned.get(name, {}) if isinstance(tuned, dict) else None
    if not isinstance(own, dict):
        return None
    gone = {str(("tag:yaml.org,2002:str", key)) for key in KEYS}
    new = _plain(yaml.compose(yaml.safe_dump(dict(values)), Loader=yaml.SafeLoader))
    assert isinstance(new, dict)
    tuned[name] = {key: value for key, value in own.items() if key not in gone} | new
    return said
