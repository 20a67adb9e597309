"""Reading and replacing files so that a reader, a crash or a power cut never sees half of one."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator

#: Path, kind, and what it holds: a link's target, a file's digest.
Entry = tuple[str, str, str]


def owner(status: os.stat_result) -> str:
    """`user:group` of a file, by name where the host knows one."""
    return f"{_name(pwd.getpwuid, status.st_uid)}:{_name(grp.getgrgid, status.st_gid)}"


def _name(look_up: object, number: int) -> str:
    assert callable(look_up)
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


def ids(owner_group: str) -> tuple[int, int]:
    """The numbers of `user:group`. Raises LookupError for an unknown one."""
    user, _, group = owner_group.partition(":")
    try:
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise LookupError(f"the host has no such user or group: {owner_group}") from error


def mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"


def read_text(path: str) -> str | None:
    """The text of a regular file, or None when there is none."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


#: How temporary names end.
TEMPORARY = ".rackhand"


def beside(path: str) -> str:
    """A temporary name in the same folder, the same for every try, so that a killed one leaves no more than one."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}{TEMPORARY}")


def write(path: str, content: str | bytes, owner_group: str, file_mode: str) -> None:
    """Replaces a file in one step, on disk before its name is."""
    temporary = prepare(path, content, owner_group, file_mode)
    os.replace(temporary, path)
    sync_folder(path)


def prepare(path: str, content: str | bytes, owner_group: str, file_mode: str) -> str:
    """Writes the coming content of a file beside it and returns where. What finds no room is removed again."""
    temporary = beside(path)
    remove(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fchown(descriptor, *ids(owner_group))
            os.fchmod(descriptor, int(file_mode, 8))
            os.fsync(descriptor)
    except OSError:
        remove(temporary)
        raise
    return temporary


def link(path: str, target: str) -> None:
    """Points a symbolic link elsewhere in one step."""
    temporary = beside(path)
    remove(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)
    sync_folder(path)


def sync_folder(path: str) -> None:
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Removes a file, link or whole folder, or nothing."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            import shutil

            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass


def put_folder(new: str, path: str) -> None:
    """Moves a finished folder to its place. One that is there is exchanged for it in one step, then removed."""
    try:
        os.rename(new, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        _exchange(new, path)
        remove(new)
    sync_folder(path)


def _exchange(one: str, other: str) -> None:
    import ctypes

    at_cwd, rename_exchange = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), rename_exchange) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), other)


def sync_filesystem(path: str) -> None:
    """Waits until all that was written to the file system of `path` is on disk."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(descriptor)


def walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a folder as (path relative to it, lstat), in one order everywhere."""
    pending = [""]
    found = []
    while pending:
        inside = pending.pop()
        with os.scandir(f"{folder}/{inside}") as entries:
            for entry in entries:
                path = inside + entry.name
                found.append((path, entry.stat(follow_symlinks=False)))
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{path}/")
    return iter(sorted(found))


def entries(folder: str) -> Iterator[Entry]:
    """What makes the identity of everything below a folder."""
    for path, status in walk(folder):
        full = os.path.join(folder, path)
        if stat.S_ISLNK(status.st_mode):
            yield path, "link", os.readlink(full)
        elif stat.S_ISDIR(status.st_mode):
            yield path, "folder", ""
        elif stat.S_ISREG(status.st_mode):
            yield path, "program" if status.st_mode & 0o100 else "file", file_digest(full)
        else:
            yield path, "other", ""


def listing(found: Iterable[Entry]) -> str:
    """A line for each entry, so that two trees are equal when their listings are, and differ where these do. Names are
    quoted: any character may be in them."""
    return "".join(f"{kind} {path!r} {holds!r}\n" for path, kind, holds in sorted(found))


def file_digest(path: str) -> str:
    import hashlib

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
