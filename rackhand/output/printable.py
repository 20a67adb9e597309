"""The one place where text that hosts sent is made safe for a terminal."""

import re

#: Colours, cursor movements, titles, hyperlinks: whole sequences, which mean nothing when not obeyed.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\n\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS and the like
    r"|\x1b[ -/]*[0-Z\\^-~]"
)
#: What remains of control characters, those that turn the direction of text around, and lone surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(value: object) -> object:
    """The value without terminal sequences, its control characters spelled out. Line ends and tabs stay."""
    if isinstance(value, str):
        text = _SEQUENCE.sub("", value.replace("\r\n", "\n"))
        return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(item) for item in value]
    return value
