"""Who was let in by a host."""

from rackhand.lab import LabHost


def logins(host: LabHost) -> int:
    """How many times its sshd has let somebody in. Not by the unit: on a busy machine, journald may look only when the
    process that said so has become part of the session which then began. Where sshd is split up (OpenSSH 9.8), it is
    the second one that says so."""
    said = host.run(
        ["sh", "-c", "journalctl --sync; journalctl -t sshd -t sshd-session --grep Accepted --quiet"], check=False
    )
    return said.stdout.count("Accepted")
