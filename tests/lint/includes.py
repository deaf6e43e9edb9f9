#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No include goes upwards: a room includes its own headers and those of rooms that its meson.build gives it.

  tests/lint/includes.py

The linker keeps calls from going upwards (room_*.so in meson.build); a header that goes upwards needs no call. Read
are the tables `x_deps = [...]` and `x = declare_dependency(... dependencies: x_deps)` of every meson.build; what a
room depends on counts with all that stands below it. Each finding is one line `file:line: what`; exit 1 when there is one.
"""
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as f:
        return f.read()


def tracked(*patterns):
    return subprocess.run(["git", "ls-files", "--", *patterns], cwd=TOP, capture_output=True, text=True, check=True).stdout.split()


def tables():
    """Of every room: name -> (folder, names it is given)."""
    rooms = {}
    for name in tracked("base/meson.build", "proto/*meson.build", "overlay/*meson.build", "worker/*meson.build", "manager/*meson.build",
                        "cli/*meson.build"):
        text = read(name)
        lists = {m.group(1): m.group(2) for m in re.finditer(r"(\w+) = \[(.*?)\]", text, re.S)}
        for m in re.finditer(r"^(\w+) = declare_dependency\((.*?)\)$", text, re.S | re.M):
            given = m.group(2).split("dependencies:", 1)[-1]
            given = re.sub(r"\w+", lambda w, lists=lists: lists.get(w.group(0), w.group(0)), given)
            rooms[m.group(1)] = (os.path.dirname(name), re.findall(r"\w+", given))
        for m in re.finditer(r"^(\w+) = (\w+)$", text, re.M):  # worker = worker_node
            rooms[m.group(1)] = (os.path.dirname(name), [m.group(2)])
    return rooms


def below(rooms, name):
    found = {name}
    for other in rooms[name][1]:
        if other in rooms and other not in found:
            found |= below(rooms, other)
    return found


def main():
    rooms = tables()
    bad = 0
    # A folder above others (proto, worker) declares what is in them; its own files belong to its deepest name.
    folders = {}
    for name, (folder, _) in rooms.items():
        if name == folder.replace("/", "_") or folder not in folders:
            folders[folder] = name
    may = {folder: {rooms[r][0] for r in below(rooms, name)} for folder, name in folders.items()}
    for name in tracked("base/*.[ch]", "proto/*.[ch]", "overlay/*.[ch]", "worker/*.[ch]", "manager/*.[ch]", "cli/*.[ch]"):
        folder = os.path.dirname(name)
        for number, line in enumerate(read(name).split("\n"), 1):
            m = re.match(r'#include "([^"]+)"', line)
            if not m:
                continue
            of = os.path.dirname(m.group(1)) or folder  # no folder: generated beside its user
            if of != folder and of not in may.get(folder, ()):
                print(f"{name}:{number}: includes {m.group(1)}, and {folder} does not stand above {of}")
                bad += 1
    print(f"includes: {bad} go upwards, {len(may)} rooms")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
