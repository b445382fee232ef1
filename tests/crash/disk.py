"""The power cut behind CUPEL_FAULTY_DISK: after kill -9, undoes folder operations that no sync of the folder made durable, and damages files that were
renamed into place without having been synced. The journal is host/faulty.h's: one line per create, sync, rename, unlink, syncdir."""

import os


def parse(path):
    """Operations in order: (kind, …)."""
    operations = []
    try:
        text = path.read_text(errors="surrogateescape")
    except OSError:
        return operations
    for line in text.split("\n")[:-1]:  # the last piece was being written when the kill came
        kind, _, rest = line.partition(" ")
        if kind == "rename":
            inode, _, names = rest.partition(" ")
            source, _, target = names.partition("\t")
            operations.append((kind, int(inode), source, target))
        elif kind == "sync":
            operations.append((kind, int(rest)))
        elif kind in ("create", "unlink", "syncdir"):
            operations.append((kind, rest))
    return operations


def folder(path):
    return os.path.normpath(os.path.dirname(path) or ".")


class PowerCut:
    """Applies what a power cut may do to the project's folder. Counts in .undone."""

    def __init__(self, project_dir, random, existed):
        self.dir, self.random = project_dir, random
        self.existed = existed  # paths that were there before the process started
        self.undone = {"removed": 0, "renamed back": 0, "damaged": 0}

    def full(self, path):
        return os.path.join(self.dir, path)

    def apply(self, journal):
        operations = parse(journal)
        synced, known = set(), set(self.existed)
        pending = []  # folder operations not yet durable, oldest first
        for operation in operations:
            kind = operation[0]
            if kind == "sync":
                synced.add(operation[1])
            elif kind == "syncdir":
                done = os.path.normpath(operation[1])
                pending = [p for p in pending if p[1] != done]
            elif kind == "create":
                pending.append((operation, folder(operation[1])))
                known.add(os.path.normpath(operation[1]))
            elif kind == "rename":
                _, inode, source, target = operation
                overwrites = os.path.normpath(target) in known
                if inode not in synced and self.ours(target) and os.path.normpath(source) not in self.existed:
                    self.damage(target, inode)
                known.add(os.path.normpath(target))
                if not overwrites:
                    pending.append((operation, folder(target)))
        for operation, _ in reversed(pending):
            if self.random.random() < 0.5:
                self.undo(operation)
        return self.undone

    def ours(self, path):
        """Files that cupel answers for: below data/, but not its own logs. What lies in a landing folder is other people's."""
        relative = os.path.relpath(self.full(path), self.dir).split(os.sep)
        return relative[0] == "data" and relative[1] not in ("logs", "run")

    def undo(self, operation):
        kind, path = operation[0], operation[-1]
        if not self.ours(path) or not os.path.exists(self.full(path)):
            return
        if kind == "create":
            os.unlink(self.full(path))
            self.undone["removed"] += 1
            print(f"  power cut: {path} was made and its folder not synced: gone", flush=True)
        elif not os.path.exists(self.full(operation[2])):
            if os.stat(self.full(path)).st_ino == operation[1] and os.path.isdir(os.path.dirname(self.full(operation[2]))):
                os.rename(self.full(path), self.full(operation[2]))
                self.undone["renamed back"] += 1
                print(f"  power cut: {path} was renamed and its folder not synced: renamed back", flush=True)

    def damage(self, path, inode):
        full = self.full(path)
        try:
            if os.stat(full).st_ino != inode:
                return
            size = os.path.getsize(full)
            os.truncate(full, self.random.randrange(size + 1) if size else 0)
            self.undone["damaged"] += 1
            print(f"  power cut: {path} was renamed without having been synced: cut", flush=True)
        except OSError:
            pass


def files_of(root):
    """All files below root, normalised, as the server may name them (absolute)."""
    return {os.path.normpath(os.path.join(base, name)) for base, _, names in os.walk(root) for name in names}
