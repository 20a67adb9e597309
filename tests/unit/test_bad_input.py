"""Every mistake in an inventory ends with one line that names file, line and path, before any host is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackhand.errors import UserError
from rackhand.inventory import load_inventory
from rackhand.settings import host_settings

HOSTS = "all:\n  hosts:\n    h:\n"
APP = """\
apps:
  shop:
    path: shop
    app: app:app
    route: /shop
"""


def complaint(folder: Path, files: dict[str, str], extra_vars: tuple[str, ...] = ()) -> str:
    """What the user is told about an inventory whose group_vars/all.yml and so on are `files`."""
    for inner in ("static", "node_modules/x"):
        (folder / "shop" / inner).mkdir(parents=True)
    (folder / "shop/link").symlink_to("static")
    for name, text in {"hosts.yml": HOSTS, **files}.items():
        path = folder / "inventory" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1") if "\xff" in text else text.encode())

    def check() -> None:
        for host in load_inventory(folder / "inventory", extra_vars=extra_vars).hosts.values():
            host_settings(host, folder)

    with pytest.raises(UserError) as raised:
        check()
    return str(raised.value).replace("inventory/", "").replace("group_vars/", "")


INVENTORY = {
    "empty": ("", "hosts.yml: is empty: an inventory has groups, such as all"),
    "not groups": ("- web1\n", 'hosts.yml:1: should be a mapping of groups, got a list (write "name:", not "- name")'),
    "not UTF-8": ("all:\n  hosts:\n    \xff:\n", "hosts.yml:3: is not UTF-8 text"),
    "control character": ("all:\n  vars: {a: \x07}\n", "hosts.yml:2: contains a control character"),
    "syntax": ("all:\n  hosts: {a: 1\n  vars: 2\n", "hosts.yml:3: did not find expected ',' or '}'"),
    "tab": ("all:\n\thosts:\n", "hosts.yml:2: a tab cannot indent YAML: use spaces"),
    "duplicate key": (
        "web:\n  hosts: {a: }\ndb:\n  hosts: {b: }\nweb:\n  hosts: {c: }\n",
        "hosts.yml:5: 'web' is set twice, first on line 1",
    ),
    "two documents": ("a:\n---\nb:\n", "hosts.yml:2: but found another document"),
    "unknown tag": ("all: {vars: {a: !later x}}\n", "hosts.yml:1: unknown tag '!later'"),
    "impossible date": ("all: {vars: {a: 2026-02-30}}\n", "hosts.yml: day is out of range for month"),
    "endless alias": ("all: &a\n  vars: {x: *a}\n", "hosts.yml:1: an alias refers to what contains it"),
    "undefined alias": ("all:\n  vars: {x: *a}\n", "hosts.yml:2: found undefined alias"),
    "template without quotes": (
        "all:\n  vars:\n    x: {{ y }}\n",
        'hosts.yml:3: a value that begins with "{{" needs quotes around it',
    ),
    "vault value without its body": (
        "all:\n  vars:\n    x: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n",
        "hosts.yml:3: is encrypted, and damaged: is a line of it missing?",
    ),
    "vault value in the clear": (
        "all:\n  vars:\n    x: !vault hunter2\n",
        "hosts.yml:3: is not encrypted with Ansible Vault: ansible-vault encrypt_string does it",
    ),
    "vault value of an old format": (
        "all:\n  vars:\n    x: !vault |\n      $ANSIBLE_VAULT;1.0;AES\n      66\n",
        "hosts.yml:3: is encrypted as 1.0 with AES: only 1.1 and 1.2 with AES256 are known",
    ),
    "vault file": (
        "$ANSIBLE_VAULT;1.1;AES256\n66\n",
        "hosts.yml:1: is encrypted, and damaged: is a line of it missing?",
    ),
    "plugin": ("plugin: aws_ec2\n", "hosts.yml:1: inventory plugins are not supported"),
    "misspelt section": (
        "all:\n  children:\n    web:\n      host:\n        web1:\n",
        'hosts.yml:4: all.children.web.host: unknown key (did you mean "hosts"?)',
    ),
    "host without hosts": (
        "web:\n  prod1:\n",
        "hosts.yml:2: web.prod1: unknown key: a group has hosts, children and vars",
    ),
    "hosts as a list": (
        "web:\n  hosts:\n    - web1\n",
        'hosts.yml:2: web.hosts: should be a mapping of hosts, got a list (write "name:", not "- name")',
    ),
    "group as text": ("web: prod1\n", "hosts.yml:1: web: should be a mapping of hosts, children and vars, got 'prod1'"),
    "host variables as text": (
        "web:\n  hosts:\n    web1: 10.0.0.1\n",
        "hosts.yml:3: web.hosts.web1: should be a mapping of variables, got '10.0.0.1'",
    ),
    "group named by a number": ("7:\n  hosts:\n", "hosts.yml:1: 7: a group's name is text: quote it"),
    "host named by a number": ("web:\n  hosts: {7: }\n", "hosts.yml:2: web.hosts.7: a host's name is text: quote it"),
    "variable named by a number": ("web:\n  vars: {7: x}\n", "hosts.yml:2: 7: a variable's name is text: quote it"),
    "not a host name": ("web:\n  hosts: {a b: }\n", "hosts.yml:2: web.hosts.a b: is not a host name"),
    "host name like an option": ("web:\n  hosts: {-oX: }\n", "hosts.yml:2: web.hosts.-oX: is not a host name"),
    "half a range": (
        "web:\n  hosts: {'web[1': }\n",
        "hosts.yml:2: web.hosts.web[1: should have a range like [1:9], [01:20:2] or [a:f]",
    ),
    "range backwards": (
        "web:\n  hosts: {'web[9:1]': }\n",
        "hosts.yml:2: web.hosts.web[9:1]: has a range that ends before it begins: 9 to 1",
    ),
    "range of two kinds": (
        "web:\n  hosts: {'web[a:7]': }\n",
        "hosts.yml:2: web.hosts.web[a:7]: has a range from 'a' to '7': both should be numbers, or both single letters",
    ),
    "range with ends of two lengths": (
        "web:\n  hosts: {'web[01:100]': }\n",
        "hosts.yml:2: web.hosts.web[01:100]: has a range whose ends differ in length: 01 and 100",
    ),
    "range that stands still": (
        "web:\n  hosts: {'web[1:9:0]': }\n",
        "hosts.yml:2: web.hosts.web[1:9:0]: has a range with the step '0': it should be a number above 0",
    ),
    "host in two spellings": (
        "web:\n  hosts:\n    web1:\ndb:\n  hosts:\n    Web1:\n",
        "hosts.yml:6: 'Web1' is 'web1' of hosts.yml:3 spelt differently",
    ),
    "group cycle": (
        "a:\n  children:\n    b:\n      children:\n        a:\n",
        "hosts.yml:3: the group 'b' contains itself",
    ),
    "group in itself": ("a:\n  children:\n    a:\n", "hosts.yml:3: the group 'a' contains itself"),
    "all below a group": ("a:\n  children:\n    all:\n", "the group 'a' has the group 'all' as a child"),
    "priority": (
        "a:\n  vars:\n    ansible_group_priority: high\n",
        "hosts.yml:3: a.vars.ansible_group_priority: should be a whole number, got 'high'",
    ),
}


@pytest.mark.parametrize(("text", "message"), INVENTORY.values(), ids=INVENTORY)
def test_mistakes_in_an_inventory(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts and groups that mean nothing are refused."""
    monkeypatch.chdir(tmp_path)
    assert complaint(tmp_path, {"hosts.yml": text}) == message


def app(line: str) -> str:
    return APP + "    " + line + "\n"


SETTINGS = {
    "workers": (
        app("workers: four"),
        "all.yml:6: apps.shop.workers: should be a whole number, \"auto\" or an expression, got 'four'",
    ),
    "workers none": (app("workers: 0"), "all.yml:6: apps.shop.workers: should be from 1 to 1024, got 0"),
    "workers boolean": (
        app("workers: yes"),
        'all.yml:6: apps.shop.workers: should be a whole number, "auto" or an expression, got true',
    ),
    "workers code": (
        app("workers: __import__('os').cpu_count()"),
        'all.yml:6: apps.shop.workers: should be a whole number, "auto" or an expression, '
        "got \"__import__('os').cpu_count()\"",
    ),
    "workers power": (
        app("workers: 9 ** 9 ** 9"),
        "all.yml:6: apps.shop.workers: should be a whole number, \"auto\" or an expression, got '9 ** 9 ** 9'",
    ),
    "unknown key": (app("worker_count: 2"), 'all.yml:6: apps.shop.worker_count: unknown key (did you mean "worker"?)'),
    "key of another world": (
        app("x: 2"),
        "all.yml:6: apps.shop.x: unknown key: there are app, direct, drain, env, groups, health, health_timeout, "
        "memory_limit, path, route, server, server_name, settle, static, strategy, threads, timeout, worker, "
        "worker_memory, workers",
    ),
    "missing keys": (
        "apps:\n  shop:\n    health: /\n",
        "all.yml:2: apps.shop: path is missing\n"
        "all.yml:2: apps.shop: app is missing\n"
        "all.yml:2: apps.shop: route is missing",
    ),
    "apps as a list": ("apps:\n  - shop\n", "all.yml:1: apps: should be a mapping, got a list"),
    "app without settings": ("apps:\n  shop:\n", "all.yml:2: apps.shop: should be a mapping, got nothing"),
    "app name": (
        APP.replace("shop:", "my-shop:"),
        "all.yml:2: apps.my-shop: an application's name has at most 23 small letters, digits and _, a letter first",
    ),
    "long app name": (
        APP.replace("shop:", 24 * "a" + ":"),
        "all.yml:2: apps.aaaaaaaaaaaaaaaaaaaaaaaa: an application's name has at most 23 small letters, digits and _, "
        "a letter first",
    ),
    "no such folder": (
        APP.replace("path: shop", "path: shops"),
        "all.yml:3: apps.shop.path: should be a folder: shops is not one",
    ),
    "folder as a list": (
        APP.replace("path: shop", "path: [shop]"),
        "all.yml:3: apps.shop.path: should be text, got a list",
    ),
    "module without object": (
        APP.replace("app:app", "app"),
        "all.yml:4: apps.shop.app: should be module:object, as app:app, got 'app'",
    ),
    "worker": (
        app("worker: gthreads"),
        "all.yml:6: apps.shop.worker: should be uvicorn, sync, gthread or asgi, got 'gthreads' "
        '(did you mean "gthread"?)',
    ),
    "server": (app("server: [x]"), "all.yml:6: apps.shop.server: should be gunicorn or uvicorn, got a list"),
    "threads of another worker": (
        app("worker: sync\n    threads: 4"),
        "all.yml:7: apps.shop.threads: only the worker gthread has threads, and this is sync",
    ),
    "tuning of threads": (
        app("worker: gthread\nrackhand_tuning:\n  shop:\n    worker: sync\n    threads: 4"),
        "all.yml:10: rackhand_tuning.shop.threads: only the worker gthread has threads, and this is sync",
    ),
    "tuning of another application": (
        app("workers: 1\nrackhand_tuning:\n  shops: {workers: 2}"),
        'all.yml:8: rackhand_tuning.shops: unknown key (did you mean "shop"?)',
    ),
    "tuning of something else": (
        app("workers: 1\nrackhand_tuning:\n  shop: {route: /}"),
        "all.yml:8: rackhand_tuning.shop.route: unknown key: there are threads, worker, workers",
    ),
    "memory limit": (
        app("memory_limit: 16"),
        "all.yml:6: apps.shop.memory_limit: should be at least 32, got 16",
    ),
    "worker of another server": (
        app("server: uvicorn\n    worker: gthread"),
        "all.yml:7: apps.shop.worker: only gunicorn has workers of the kind gthread, and the server is uvicorn",
    ),
    "health": (app("health: health"), "all.yml:6: apps.shop.health: should be a path like /health, got 'health'"),
    "timeout": (app("timeout: 1.5"), "all.yml:6: apps.shop.timeout: should be a whole number, got 1.5"),
    "timeout nothing": (app("timeout:"), "all.yml:6: apps.shop.timeout: should be a whole number, got nothing"),
    "drain": (app("drain: -1"), "all.yml:6: apps.shop.drain: should be at least 1, got -1"),
    "env name": (
        app("env: {LOG-LEVEL: x}"),
        "all.yml:6: apps.shop.env.LOG-LEVEL: the name of an environment variable has letters, digits and _, "
        "no digit first",
    ),
    "env boolean": (app("env: {DEBUG: on}"), "all.yml:6: apps.shop.env.DEBUG: should be text: quote it"),
    "env date": (app("env: {D: 2026-01-02}"), "all.yml:6: apps.shop.env.D: should be text: quote it"),
    "env octal": (
        app("env: {MODE: 0644}"),
        "all.yml:6: apps.shop.env.MODE: is a number that YAML would write differently: quote it",
    ),
    "env nothing": (app("env: {A: }"), 'all.yml:6: apps.shop.env.A: has no value: write "" for an empty one'),
    "env lines": (
        app('env: {KEY: "a\\nb"}'),
        "all.yml:6: apps.shop.env.KEY: may not contain line breaks or control characters",
    ),
    "env NUL": (
        app('env: {KEY: "a\\0b"}'),
        "all.yml:6: apps.shop.env.KEY: may not contain line breaks or control characters",
    ),
    "same route": (
        APP + APP.partition("\n")[2].replace("  shop:", "  other:"),
        "all.yml:9: apps.other.route: /shop is the route of shop already",
    ),
    "same route in one site": (
        "rackhand_nginx: {server_name: shop.example}\n"
        + APP
        + APP.partition("\n")[2].replace("  shop:", "  other:")
        + "    server_name: Shop.example\n",
        "all.yml:10: apps.other.route: /shop is the route of shop already",
    ),
    "route of static files": (
        APP.replace("/shop", "/shop/files")
        + APP.partition("\n")[2].replace("  shop:", "  other:")
        + "    static: {/files: static}\n",
        "all.yml:10: apps.other.static./files: /shop/files is the route of shop already",
    ),
    "server name": (
        app("server_name: a; b"),
        "all.yml:6: apps.shop.server_name: should be a host name like shop.example, got 'a; b'",
    ),
    "server name for all": (
        app("server_name: '*.example'"),
        "all.yml:6: apps.shop.server_name: should be a host name like shop.example, got '*.example'",
    ),
    "static path": (
        app("static: {/: static}"),
        "all.yml:6: apps.shop.static./: should be a path below the route, like /static, got '/'",
    ),
    "static path that nginx could misread": (
        app("static: {'/a {': static}"),
        "all.yml:6: apps.shop.static./a {: should be a path below the route, like /static, got '/a {'",
    ),
    "static folder outside": (
        app("static: {/static: ../shop}"),
        "all.yml:6: apps.shop.static./static: should be a folder in the application, as static, got '../shop'",
    ),
    "static folder that is not there": (
        app("static: {/static: nope}"),
        "all.yml:6: apps.shop.static./static: should be a folder in the application: shop/nope is not one",
    ),
    "static folder that is a link": (
        app("static: {/static: link}"),
        "all.yml:6: apps.shop.static./static: should be a folder in the application: shop/link is not one",
    ),
    "static folder that is not deployed": (
        app("static: {/static: node_modules/x}"),
        "all.yml:6: apps.shop.static./static: should be a folder that is deployed, and node_modules never is",
    ),
    "direct": (app("direct: yes"), "all.yml:6: apps.shop.direct: should be a whole number, got true"),
    "direct on no port": (app("direct: 65536"), "all.yml:6: apps.shop.direct: should be from 1 to 65535, got 65536"),
    "direct below a route": (
        app("direct: 80"),
        "all.yml:5: apps.shop.route: is a path below the site of nginx: without it (direct) there is only /",
    ),
    "direct with what is nginx's": (
        app("direct: 80\n    server_name: shop.example\n    static: {/static: static}").replace("/shop", "/"),
        "all.yml:7: apps.shop.server_name: is nginx's, and without it (direct) there is none\n"
        "all.yml:8: apps.shop.static: is nginx's, and without it (direct) there is none",
    ),
    "direct beside": (
        app("direct: 80\n    strategy: beside").replace("/shop", "/"),
        "all.yml:7: apps.shop.strategy: beside needs nginx to switch: without it (direct) there is only restart",
    ),
    "direct with another one": (
        app("direct: 80").replace("/shop", "/") + APP.partition("\n")[2].replace("  shop:", "  other:"),
        "all.yml:7: apps.other: shop listens itself (direct), and has to be the only application of its host",
    ),
    "two direct on one port": (
        app("direct: 80").replace("/shop", "/")
        + APP.partition("\n")[2].replace("  shop:", "  other:").replace("/shop", "/")
        + "    direct: 80\n",
        "all.yml:7: apps.other: shop listens itself (direct), and has to be the only application of its host",
    ),
    "own namespace": (
        "rackhand_keep_release: 3\n",
        'all.yml:1: rackhand_keep_release: unknown key (did you mean "rackhand_keep_releases"?)',
    ),
    "root shut out": (
        "ansible_user: root\nrackhand_ssh:\n  root_login: false\n",
        "all.yml:3: rackhand_ssh.root_login: would lock Rackhand out, which connects as root: set another ansible_user",
    ),
    "root's password shut out": (
        "ansible_user: root\nansible_password: a\nrackhand_ssh: {root_login: prohibit-password}\n",
        "all.yml:3: rackhand_ssh.root_login: would lock Rackhand out, which connects as root with ansible_password",
    ),
    "password shut out": (
        "ansible_user: debian\nansible_password: a\nrackhand_ssh:\n  root_login: false\n  passwords: false\n",
        "all.yml:5: rackhand_ssh.passwords: would lock Rackhand out, which connects with ansible_password: use a key",
    ),
    "root login": (
        "rackhand_ssh: {root_login: without-password}\n",
        "all.yml:1: rackhand_ssh.root_login: should be true, false or prohibit-password, got 'without-password'",
    ),
    "unknown option of sshd": (
        "rackhand_ssh: {port: 2222}\n",
        "all.yml:1: rackhand_ssh.port: unknown key: there are passwords, root_login",
    ),
    "options of sshd as a flag": ("rackhand_ssh: yes\n", "all.yml:1: rackhand_ssh: should be a mapping, got true"),
    "port of the firewall": (
        "rackhand_firewall:\n  allow: [8080, 65536]\n",
        "all.yml:2: rackhand_firewall.allow: each should be a port, or a network and a port "
        '("10.0.0.0/8:5432"), got 65536',
    ),
    "network of the firewall": (
        "rackhand_firewall: {allow: ['10.0.0.1/8:5432']}\n",
        "all.yml:1: rackhand_firewall.allow: each should be a port, or a network and a port "
        "(\"10.0.0.0/8:5432\"), got '10.0.0.1/8:5432'",
    ),
    "rule of the firewall": (
        "rackhand_firewall: {allow: ['1 accept; }']}\n",
        "all.yml:1: rackhand_firewall.allow: each should be a port, or a network and a port "
        "(\"10.0.0.0/8:5432\"), got '1 accept; }'",
    ),
    "too little time to confirm": (
        "rackhand_confirm_within: 1\n",
        "all.yml:1: rackhand_confirm_within: should be from 5 to 600, got 1",
    ),
    "keep_releases": ("rackhand_keep_releases: 0\n", "all.yml:1: rackhand_keep_releases: should be at least 1, got 0"),
    "nginx": (
        "rackhand_nginx:\n  server_name: a; b\n",
        "all.yml:2: rackhand_nginx.server_name: should be a host name, got 'a; b'",
    ),
    "port": ("ansible_port: 99999\n", "all.yml:1: ansible_port: should be from 1 to 65535, got 99999"),
    "connection": ("ansible_connection: winrm\n", "all.yml:1: ansible_connection: should be ssh or local, got 'winrm'"),
    "become": ("ansible_become: maybe\n", "all.yml:1: ansible_become: should be true or false, got 'maybe'"),
    "become method": (
        "ansible_become_method: su\n",
        "all.yml:1: ansible_become_method: should be sudo, got 'su' (did you mean \"sudo\"?)",
    ),
    "user like an option": (
        "ansible_user: -oProxyCommand=x\n",
        "all.yml:1: ansible_user: should be one word that does not begin with a dash, got '-oProxyCommand=x'",
    ),
    "password": ("ansible_password: [x]\n", "all.yml:1: ansible_password: should be text: quote it"),
    "password of digits": (
        "ansible_password: 0123\n",
        "all.yml:1: ansible_password: is a number that YAML would write differently: quote it",
    ),
    "key file": (
        "ansible_ssh_private_key_file: id\n",
        "all.yml:1: ansible_ssh_private_key_file: should be a file: id is not one",
    ),
    "ssh arguments": (
        "ansible_ssh_common_args: -o 'X\n",
        "all.yml:1: ansible_ssh_common_args: is not a list of arguments: No closing quotation",
    ),
    "undefined variable": ("ansible_user: '{{ admin }}'\n", "all.yml:1: ansible_user: 'admin' is undefined"),
    "undefined further on": (
        "admin: '{{ nobody }}'\nansible_user: '{{ admin }}'\n",
        "all.yml:2: ansible_user: all.yml:1: admin: 'nobody' is undefined",
    ),
    "undefined inside": (
        app("env: {A: '{{ x }}', B: '{{ y.z }}'}").replace("apps:", "y: {}\napps:"),
        "all.yml:7: apps.shop.env.A: 'x' is undefined\nall.yml:7: apps.shop.env.B: a mapping that it uses has no 'z'",
    ),
    "template syntax": (
        "ansible_user: '{{ a b }}'\n",
        "all.yml:1: ansible_user: is not a valid template: expected token 'end of print statement', got 'b'",
    ),
    "unknown filter": (
        "ansible_user: '{{ 1 | nope }}'\n",
        "all.yml:1: ansible_user: is not a valid template: No filter named 'nope'.",
    ),
    "template that fails": (
        "ansible_port: '{{ 1 // 0 }}'\n",
        "all.yml:1: ansible_port: its template fails: integer division or modulo by zero",
    ),
    "template that refers to itself": (
        "ansible_user: '{{ a }}'\na: '{{ b }}'\nb: '{{ a }}'\n",
        "all.yml:2: a: refers to itself: a -> b -> a",
    ),
    "group_vars as a list": ("- a\n", "all.yml:1: should be a mapping of variables"),
    "several at once": (
        app("workers: four\n    env: {A: yes}\n    nope: 1").replace("/shop", "shop/"),
        "all.yml:5: apps.shop.route: should be a path like /shop, or /, got 'shop/'\n"
        "all.yml:6: apps.shop.workers: should be a whole number, \"auto\" or an expression, got 'four'\n"
        "all.yml:7: apps.shop.env.A: should be text: quote it\n"
        "all.yml:8: apps.shop.nope: unknown key: there are app, direct, drain, env, groups, health, health_timeout, "
        "memory_limit, path, route, server, server_name, settle, static, strategy, threads, timeout, worker, "
        "worker_memory, workers",
    ),
}


@pytest.mark.parametrize(("text", "message"), SETTINGS.values(), ids=SETTINGS)
def test_mistakes_in_settings(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that mean nothing, or something dangerous, are refused, all of a host's at once."""
    monkeypatch.chdir(tmp_path)
    assert complaint(tmp_path, {"group_vars/all.yml": text}) == message


ROUTES = ("shop", "", "/shop/", "//", "/a//b", "/../etc", "/a/..", "/a b", '/"', "/a;", "/{a}", "/$a", "/a\\n", "/é", 7)


@pytest.mark.parametrize("route", ROUTES)
def test_routes_that_nginx_could_misread_are_refused(route: str | int, tmp_path: Path) -> None:
    """Whatever nginx would not take literally does not reach its configuration."""
    written = f"'{route}'" if "\\" not in str(route) else f'"{route}"'
    text = APP.replace("/shop", str(route) if route == 7 else written)
    message = complaint(tmp_path, {"group_vars/all.yml": text})
    assert "apps.shop.route: should be a path like /shop, or /, got " in message


EXTRA_VARS = {
    "value": ("ansible_port=ssh", "--extra-vars: ansible_port: should be a whole number, got 'ssh'"),
    "no value": ("ansible_port", "--extra-vars: should be variables (name=value, @file or JSON), got 'ansible_port'"),
    "open quote": ("a='b", '--extra-vars: should be variables (name=value, @file or JSON), got "a=\'b"'),
    "list": ("[1]", "--extra-vars: should be variables (name=value, @file or JSON), got '[1]'"),
    "JSON": ("{a: b", "--extra-vars:1: did not find expected ',' or '}'"),
    "missing file": ("@nope.yml", "nope.yml: cannot be read: No such file or directory"),
}


@pytest.mark.parametrize(("option", "message"), EXTRA_VARS.values(), ids=EXTRA_VARS)
def test_mistakes_in_extra_variables(
    option: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options that set no variable, or set it wrongly, are refused like files are."""
    monkeypatch.chdir(tmp_path)
    assert complaint(tmp_path, {}, (option,)) == message


def test_missing_inventories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that holds no inventory, or one that cannot be read, is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "hosts.toml").write_text("[web.hosts]\nweb1 = {}\n")
    messages = {
        "nope": "nope: does not exist",
        "nope.yml": "nope.yml: does not exist",
        "empty": "empty: holds no inventory: add a hosts.yml",
        "hosts.toml": "hosts.toml: inventories in TOML are not supported: write YAML or INI",
    }
    for name, message in messages.items():
        with pytest.raises(UserError) as raised:
            load_inventory(tmp_path / name)
        assert str(raised.value) == message


def test_secrets_are_in_no_message(tmp_path: Path) -> None:
    """A password or an environment value that is refused is not shown."""
    text = app('env: {A: "sentinel\\n", B: 2026-11-23, C: 0377}') + 'ansible_password: ["sentinel"]\n'
    message = complaint(tmp_path, {"group_vars/all.yml": text + 'ansible_become_password: "sentinel\\n"\n'})
    assert len(message.splitlines()) == 5
    said = message.replace(str(tmp_path), "")  # pytest numbers its folders
    assert not [value for value in ("sentinel", "2026", "377", "255") if value in said]
