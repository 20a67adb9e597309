"""Reads an inventory that is no file but a list of hosts on the command line: `web1,web2:2222,`."""

from __future__ import annotations

from rackhand.errors import UserError
from rackhand.inventory.documents import Document
from rackhand.inventory.graph import Graph
from rackhand.inventory.names import checked, split_port


def add(text: str, graph: Graph) -> None:
    """Adds the hosts of a list to the graph. Raises UserError."""
    document = Document(file=text, value=None)
    for host in filter(None, map(str.strip, text.split(","))):
        name, port = split_port(host) or (host, None)
        try:
            if checked(name) not in graph.hosts:
                graph.add_host(name, graph.groups["ungrouped"], document, (), port)
        except ValueError as error:
            raise UserError(f"--inventory {text}: {host}: {error}") from None
