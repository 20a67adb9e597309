"""Ansible Vault: what `ansible-vault` encrypts is read, and what is encrypted here it reads; nothing of it is told."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rackhand import PROJECT
from rackhand.agent.redaction import OWN_WORDS, Redaction
from rackhand.errors import UserError
from rackhand.inventory import Vault, load_inventory
from rackhand.inventory.vault import Password, Vaulted, encrypt
from rackhand.settings import HostSettings, host_settings
from rackhand.vault_passwords import passwords

SECRET = "s3nt1nel of the vault"
HOSTS = "all: {hosts: {h: , other: }}"


def ansible_vault(*arguments: str | Path, given: str | None = None) -> str:
    """What the real command prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    command = [sys.executable, "-m", "ansible.cli.vault", *arguments]
    done = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of two passwords, and two scripts that print one."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "dev").write_text("word of dev\n")
    (folder / "prod").write_text("  word of prod \n")
    for name, prints in (("script", "word of dev"), ("some-client.sh", "word of $2")):
        (folder / name).write_text(f"#!/bin/sh\necho {prints}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def written(keys: Path) -> Mapping[str, str]:
    """What the real command makes: a value of each format, and a whole file."""
    file = keys / "whole.yml"
    file.write_text(f"ansible_become_password: {SECRET}\nwelcome: '{{{{ inventory_hostname }}}}'\ncount: 2\n")
    ansible_vault("encrypt", "--vault-id", f"prod@{keys / 'prod'}", file)
    return {
        "1.1": ansible_vault("encrypt_string", "--vault-password-file", keys / "dev", "--name", "value", SECRET),
        "1.2": ansible_vault("encrypt_string", "--vault-id", f"prod@{keys / 'prod'}", "--name", "value", SECRET),
        "template": ansible_vault(
            "encrypt_string", "--vault-password-file", keys / "dev", "--name", "value", "{{ x }}"
        ),
        "whole": file.read_text(),
    }


def variables(folder: Path, files: Mapping[str, str], vault: Vault, host: str = "h") -> Mapping[str, object]:
    for name, text in {"hosts.yml": HOSTS, **files}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return load_inventory(folder, vault=vault).host(host).vars


def dev(keys: Path) -> Vault:
    return Vault(passwords(files=[str(keys / "dev")], environment={}))


def prod(keys: Path) -> Vault:
    return Vault(passwords(ids=[f"prod@{keys / 'prod'}"], environment={}))


# What Ansible has written


def test_values_that_ansible_has_encrypted(written: Mapping[str, str], keys: Path, tmp_path: Path) -> None:
    """Of both formats, with the password of their vault id or with any other that fits."""
    assert written["1.2"].splitlines()[1].strip() == "$ANSIBLE_VAULT;1.2;AES256;prod"
    assert variables(tmp_path, {"group_vars/all.yml": written["1.1"]}, dev(keys))["value"] == SECRET
    assert variables(tmp_path, {"group_vars/all.yml": written["1.2"]}, prod(keys))["value"] == SECRET
    several = Vault(passwords(ids=[f"x@{keys / 'dev'}", f"y@{keys / 'prod'}"], environment={}))
    assert variables(tmp_path, {"group_vars/all.yml": written["1.2"]}, several)["value"] == SECRET


def test_an_encrypted_value_is_no_template_but_can_be_in_one(
    written: Mapping[str, str], keys: Path, tmp_path: Path
) -> None:
    """As with Ansible."""
    assert variables(tmp_path, {"group_vars/all.yml": written["template"]}, dev(keys))["value"] == "{{ x }}"
    url = "url: 'postgres://u:{{ value }}@db'\n" + written["1.1"]
    assert variables(tmp_path, {"group_vars/all.yml": url}, dev(keys))["url"] == f"postgres://u:{SECRET}@db"


@pytest.mark.parametrize("name", ["group_vars/all.yml", "host_vars/h"])
def test_files_that_ansible_has_encrypted(written: Mapping[str, str], keys: Path, tmp_path: Path, name: str) -> None:
    """They say what they would say in the clear; mistakes in them are told with the line that `view` shows."""
    found = variables(tmp_path, {name: written["whole"]}, prod(keys))
    assert dict(found) == {"ansible_become_password": SECRET, "welcome": "h", "count": 2}
    host = load_inventory(tmp_path, vault=prod(keys)).host("h")
    assert str(host.vars.origin("count")).endswith(f"{name}:3")


@pytest.mark.parametrize("name", ["hosts.yml", "hosts.ini", "hosts"])
def test_encrypted_inventories(keys: Path, tmp_path: Path, name: str) -> None:
    """In YAML and in INI."""
    text = "all: {hosts: {h: {value: 1}}}\n" if name.endswith("yml") else "h value=1\n"
    (tmp_path / name).write_text(text)
    ansible_vault("encrypt", "--vault-password-file", keys / "dev", tmp_path / name)
    assert load_inventory(tmp_path, vault=dev(keys)).host("h").vars["value"] == 1


def test_extra_variables_and_what_scripts_print(written: Mapping[str, str], keys: Path, tmp_path: Path) -> None:
    """In files, and in Ansible's JSON."""
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "extra").write_text(written["whole"])
    (tmp_path / "vars.json").write_text(json.dumps({"value": {"__ansible_vault": envelope(written["1.2"])}}))
    extra = [f"@{tmp_path / 'extra'}", f"@{tmp_path / 'vars.json'}"]
    found = load_inventory(tmp_path / "hosts.yml", None, extra, prod(keys)).host("h").vars
    assert (found["value"], found["count"]) == (SECRET, 2)


def envelope(value: str) -> str:
    return textwrap.dedent(value.partition("\n")[2])


# What Ansible reads


@pytest.mark.parametrize("text", [SECRET, "", "ünïcode\nlines\n", "x" * 16, "y" * 1000])
@pytest.mark.parametrize("label", ["default", "prod"])
def test_what_is_encrypted_here_is_decrypted_here(text: str, label: str) -> None:
    """Whatever its length."""
    vault = Vault((Password(label="other", where="here", read=lambda: " word\n"),))
    assert vault.open(encrypt(text, "word", label)) == text


def test_ansible_reads_what_is_encrypted_here(keys: Path, tmp_path: Path) -> None:
    """A whole file, and a value in the form that the command prints."""
    file = tmp_path / "x.yml"
    file.write_text(encrypt(f"a: {SECRET}\n", "word of prod", "prod"))
    assert ansible_vault("view", "--vault-id", f"prod@{keys / 'prod'}", file) == f"a: {SECRET}\n"
    made = invoke("vault.encrypt", "--vault-password-file", keys / "dev", "--name", "key", given=f"{SECRET}\n")
    assert made.stderr == ""
    assert made.stdout.startswith("key: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text(made.stdout)
    (tmp_path / "hosts.yml").write_text("all: {hosts: {h: {ansible_connection: local}}}")
    ask: list[str | Path] = [
        "-m",
        "ansible.cli.adhoc",
        "-i",
        tmp_path,
        "--vault-password-file",
        keys / "dev",
        "h",
        "-m",
        "debug",
    ]
    done = subprocess.run([sys.executable, *ask, "-a", "var=key"], capture_output=True, text=True, check=True)
    assert f'"key": "{SECRET}"' in done.stdout


def invoke(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROJECT / "invoke", *arguments], input=given, capture_output=True, text=True, check=False)


def test_view(written: Mapping[str, str], keys: Path, tmp_path: Path) -> None:
    """A whole file is printed as it was; of another, the values that are encrypted in it; a wrong password is told."""
    assert invoke("vault.view", keys / "whole.yml", "--vault-id", keys / "prod").stdout.startswith("ansible_become")
    file = tmp_path / "values.yml"
    file.write_text("a: {b: 1}\n" + written["1.1"])
    assert invoke("vault.view", file, "--vault-password-file", keys / "dev").stdout == f"value: {SECRET}\n"
    wrong = invoke("vault.view", file, "--vault-password-file", keys / "prod")
    assert (wrong.returncode, wrong.stdout) == (5, "")
    assert f"{file}:2: value: is encrypted (vault id default) with another password than that of" in wrong.stderr


# Passwords


def test_where_passwords_come_from(written: Mapping[str, str], keys: Path, tmp_path: Path) -> None:
    """Files, scripts, scripts that are told the vault id, and the environment; with or without a vault id."""
    client, script = keys / "some-client.sh", keys / "script"
    for value, given in (
        ("1.1", passwords(files=[str(script)], environment={})),
        ("1.1", passwords(ids=[str(script)], environment={})),
        ("1.2", passwords(ids=[f"prod@{client}"], environment={})),
        ("1.1", passwords(environment={"ANSIBLE_VAULT_PASSWORD_FILE": str(keys / "dev")})),
        ("1.1", passwords(environment={"RACKHAND_VAULT_PASSWORD_FILE": str(keys / "dev")})),
        ("1.2", passwords(environment={"ANSIBLE_VAULT_IDENTITY_LIST": f"dev@{keys / 'dev'}, prod@{keys / 'prod'}"})),
    ):
        assert Vault(given).reveal(Vaulted(envelope(written[value]))) == SECRET


def test_nothing_is_asked_before_it_is_needed(written: Mapping[str, str], tmp_path: Path) -> None:
    """Neither for hosts that use nothing encrypted, nor twice."""
    asked: list[str] = []

    def ask() -> str:
        asked.append("once")
        return "word of prod"

    vault = Vault((Password(label="prod", where="here", read=ask),))
    found = variables(tmp_path, {"host_vars/h.yml": written["whole"], "host_vars/other.yml": "a: 1"}, vault)
    inventory = load_inventory(tmp_path, vault=vault)
    assert inventory.host("other").vars["a"] == 1
    assert asked == []
    assert found["count"] == inventory.host("h").vars["count"] == 2
    assert asked == ["once"]


def test_a_password_is_asked_for_at_the_terminal(keys: Path, tmp_path: Path) -> None:
    """Without showing it; and where there is no terminal, that is said."""
    file = tmp_path / "x.yml"
    file.write_text(encrypt(SECRET, "word of dev", "dev"))
    command: list[str | Path] = [PROJECT / "invoke", "vault.view", file, "--vault-id", "dev@prompt"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", *command], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Vault password (dev): " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, b"word of dev\n")
        assert process.stdout is not None
        assert process.stdout.read() == SECRET
    assert b"word" not in shown.partition(b": ")[2]
    without = subprocess.run(["setsid", "--wait", *command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert without.returncode == 5
    assert b"cannot be asked for without a terminal" in without.stderr


#: By name: options, and what is said of them, or of a value that is encrypted as 1.2 for `prod`.
WRONG = {
    "none": ([], "all.yml:1: value: is encrypted (vault id prod), and no password was given: --vault-id prod@FILE"),
    "another": (["--vault-id", "prod@dev"], "value: is encrypted (vault id prod) with another password than that of"),
    "no file": (["--vault-id", "prod@none"], "none: should be a file with the password of the vault id prod"),
    "an empty file": (["--vault-password-file", "empty"], "empty: the password is empty"),
    "a script that fails": (["--vault-password-file", "fails"], "fails: ended with 3 instead of printing a password"),
}


@pytest.mark.parametrize("name", WRONG)
def test_without_the_password(written: Mapping[str, str], keys: Path, tmp_path: Path, name: str) -> None:
    """One line, and exit code 5, before a host is touched."""
    site = tmp_path / "site"
    (site / "group_vars").mkdir(parents=True)
    (site / "group_vars/all.yml").write_text(written["1.2"] + "ansible_password: '{{ value | default(1) }}'\n")
    (site / "hosts.yml").write_text(HOSTS)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "dev").write_text("word of dev\n")
    (tmp_path / "fails").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "fails").chmod(0o755)
    options, message = WRONG[name]
    given = [option.replace("@", f"@{tmp_path}/") if "@" in option else option for option in options]
    given = [str(tmp_path / option) if option in ("empty", "fails") else option for option in given]
    done = invoke("facts", "--host", "h", "--inventory", site, *given)
    assert done.returncode == 5
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


# What is kept secret


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., HostSettings]:
    """Of a host with one application, whose variables may be encrypted with the password `word`."""
    (tmp_path / "shop").mkdir()
    vault = Vault((Password(label="default", where="here", read=lambda: "word"),))

    def read(text: str, **files: str) -> HostSettings:
        app = {"path": "shop", "app": "app:app", "route": "/shop"}
        named = {"hosts.yml": "all: {hosts: {h: }}", "group_vars/all.yml": f"app: {json.dumps(app)}\n{text}", **files}
        for name, content in named.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        return host_settings(load_inventory(tmp_path, vault=vault).host("h"), tmp_path)

    return read


def vaulted(name: str, text: str) -> str:
    return f"{name}: !vault |\n{textwrap.indent(encrypt(text, 'word'), '  ')}"


APP = "apps: {shop: {path: shop, app: app:app, route: /shop, env: {URL: 'db://{{ pw }}@x', LEVEL: info}}}\n"


def test_what_is_secret_of_a_host(settings: Callable[..., HostSettings]) -> None:
    """Encrypted values that it uses, by themselves and within others, passwords, and variables of applications but for
    short words; each also as it is quoted. What it does not use is not its to know."""
    text = APP + vaulted("pw", 'a"b/') + vaulted("other", "of another host") + "ansible_password: pw2\n"
    secrets = set(settings(text).secrets)
    assert {'a"b/', 'a\\"b/', "a%22b%2F", 'db://a"b/@x', "pw2"} <= secrets
    assert not {"info", "of another host", "shop"} & secrets


def test_texts_in_an_encrypted_file_are_secret_where_they_are_kept_secret(
    settings: Callable[..., HostSettings],
) -> None:
    """A setting in it that is no secret is no secret, and the file may hold whole applications."""
    whole = encrypt(APP + "pw: inner\nansible_user: admin\n", "word")
    found = settings("", **{"host_vars/h.yml": whole})
    assert "inner" in found.secrets
    assert found.apps[0].route == "/shop"
    assert not {"/shop", "admin"} & set(found.secrets)


def test_an_encrypted_value_goes_nowhere_where_it_could_be_read(settings: Callable[..., HostSettings]) -> None:
    """Neither as it is nor within another text."""
    text = APP.replace("route: /shop", "route: '/{{ pw }}'") + vaulted("pw", "long-secret")
    with pytest.raises(UserError) as raised:
        settings(text)
    assert "apps.shop.route: was encrypted, and would be readable on the host" in str(raised.value)
    assert "long-secret" not in str(raised.value)


def test_no_message_repeats_what_was_encrypted(settings: Callable[..., HostSettings]) -> None:
    """Not of a wrong value, nor of a template that fails."""
    for line in ("rackhand_keep_releases: '{{ pw }}'\n", "rackhand_keep_releases: '{{ pw | int(pw, pw) + pw }}'\n"):
        with pytest.raises(UserError) as raised:
            settings(vaulted("pw", "long-secret") + line)
        assert "rackhand_keep_releases" in str(raised.value)
        assert "long-secret" not in str(raised.value)


def test_the_inventory_command_shows_nothing_that_was_encrypted(
    written: Mapping[str, str], keys: Path, tmp_path: Path
) -> None:
    """A value stays as it is written; of a file there is a mask."""
    variables(tmp_path, {"host_vars/h.yml": written["whole"], "group_vars/all.yml": written["1.1"]}, prod(keys))
    options: list[str | Path] = ["--inventory", tmp_path, "--vault-id", f"prod@{keys / 'prod'}"]
    listed = invoke("inventory", "--host", "h", *options)
    assert json.loads(listed.stdout)["value"] == {"__ansible_vault": envelope(written["1.1"])}
    blamed = invoke("inventory", "--host", "h", "--blame", "ansible_become_password", *options)
    assert "********" in blamed.stdout
    assert SECRET not in listed.stdout + blamed.stdout


PIN = "31415926"
#: Each by the name of its file: what says the same in the clear, and the arguments of the command.
PINS = {
    "host_vars/h.yml": f"pin: {PIN}\nof: {{short: [yes, '{PIN[:3]}']}}\n",
    "group_vars/all": f"pin: {PIN}\nof: {{short: [yes, '{PIN[:3]}']}}\n",
    "hosts.ini": f"h pin={PIN} of=\"{{'short': [True, '{PIN[:3]}']}}\"\n",
}


@pytest.mark.parametrize("name", PINS)
def test_the_inventory_command_masks_each_value_of_an_encrypted_file(keys: Path, tmp_path: Path, name: str) -> None:
    """Numbers and short words too, wherever it is printed; names of variables are shown."""
    (tmp_path / "hosts.yml").write_text("all: {hosts: {h: {clear: 5}}}")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(encrypt(PINS[name], "word of dev"))
    options: list[str | Path] = ["--inventory", tmp_path, "--vault-password-file", keys / "dev"]
    hidden = {"clear": 5, "pin": "********", "of": {"short": ["********", "********"]}}
    assert json.loads(invoke("inventory", "--host", "h", *options).stdout) == hidden
    assert json.loads(invoke("inventory", "--list", *options).stdout)["_meta"]["hostvars"] == {"h": hidden}
    for variable in ("pin", "of", "of.short"):
        blamed = invoke("inventory", "--host", "h", "--blame", variable, *options).stdout
        assert "********" in blamed
        assert PIN[:3] not in blamed


#: By file: what is wrong in it.
WRONG_INSIDE = {
    "hosts.ini": f"h {SECRET}\n",
    "hosts.yml": f"all: {{hosts: '{SECRET}'}}\n",
    "group_vars/all.yml": f"- {SECRET}\n",
}


@pytest.mark.parametrize("name", WRONG_INSIDE)
def test_mistakes_in_encrypted_files_quote_nothing(keys: Path, tmp_path: Path, name: str) -> None:
    """They are told with their line, and what they are."""
    (tmp_path / "hosts.yml").write_text(HOSTS)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(encrypt(WRONG_INSIDE[name], "word of dev"))
    done = invoke("inventory", "--host", "h", "--inventory", tmp_path, "--vault-password-file", keys / "dev")
    assert done.returncode == 5
    assert f"{name}:1: " in done.stderr
    assert [word for word in SECRET.split() if len(word) > 3 and word in done.stderr] == []


def test_words_of_rackhands_own_are_kept() -> None:
    """A password that happens to be `ok` does not make a run fail that nobody can read."""
    event = {"event": "resource", "status": "ok", "message": "ok?", "said": {"event": "end", "reason": "ok"}}
    shown = {
        "event": "resource",
        "status": "ok",
        "message": "********?",
        "said": {"event": "end", "reason": "********"},
    }
    assert Redaction(("ok", "end", "resource"), OWN_WORDS)(event) == shown
