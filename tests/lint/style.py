#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The house's dialect, checked: what clang-format and the compilers do not see (CONTRIBUTING.md, "How code reads").

  tests/lint/style.py [-c] [FOLDER ...]     default: every folder of C code; -c: only the counts

Each finding is one line `file:line: what`; exit 1 when there is one. Floors and ceilings are counted over a room:
asserts (what base/bug.h has, and moves through a table) per 1,000 lines, prototypes without a contract, .c files a room.
"""
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ["base", "proto", "overlay", "worker", "manager", "cli"]
# Where a wrong step costs data, a broken invariant must stop the program: twenty asserts per 1,000 lines; five elsewhere.
HEARTS = ["manager/raft", "manager/store", "manager/galera", "worker/task", "worker/galera"]
FLOOR, HEART_FLOOR = 5.0, 20.0
BARE_PROTOTYPES = 0.05  # of all in the tree
MOST_FILES, MOST_LINES, WIDEST = 25, 800, 118

LINES = [  # pattern, what to write instead; checked outside of comments and strings
    (r"[!=]= NULL\b", "write p or !p instead of a comparison with NULL"),
    (r"!(str|strn|strcase|strncase|mem)cmp\(", "write cmp(...) == 0"),
    (r"\btypedef struct\b", "struct foo without typedef"),
    (r"\bsprintf\(|\bstrcpy\(|\bstrcat\(", "no unbounded copies"),
]
PROTOTYPE = re.compile(r"^(?!typedef|static|extern|#|return|else)[a-zA-Z_][\w\s\*]*?\b(\w+)\s*\(")


def tracked(folder, *suffixes):
    names = subprocess.run(["git", "ls-files", folder], cwd=TOP, capture_output=True, text=True, check=True).stdout.split()
    return [n for n in names if n.endswith(suffixes) and os.path.exists(os.path.join(TOP, n))]


def read(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as f:
        return f.read()


def blank(text):
    """Comments and strings replaced by spaces of the same length, so that lines and columns stay."""
    def spaces(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', spaces, text, flags=re.S)


def empty_errors(code):
    """Where a local `struct err e;` starts with whatever was on the stack; members of a struct are no locals."""
    for m in re.finditer(r"(?m)^\s+(struct err \w+;)", code):
        depth, i = 0, m.start()
        while i > 0 and depth >= 0:
            i -= 1
            depth += {"}": 1, "{": -1}.get(code[i], 0)
        if not re.search(r"\b(?:struct|union)(?:\s+\w+)?\s*$", code[:i]):
            yield m


def lines_of(name, text):
    whole = blank(text)
    code = whole.split("\n")
    for m in empty_errors(whole):
        yield f"{name}:{whole.count(chr(10), 0, m.start(1)) + 1}: an error starts empty: struct err e = {{0}};"
    for number, line in enumerate(code, 1):
        for pattern, say in LINES:
            if re.search(pattern, line):
                yield f"{name}:{number}: {say}"
    raw = text.split("\n")
    if not raw[0].startswith("// SPDX-License-Identifier:"):
        yield f"{name}:1: the first line is the SPDX line"
    for number, line in enumerate(raw, 1):
        if re.fullmatch(r"\s*\*/\s*", line):
            yield f"{name}:{number}: a comment ends on its last line of text"
        if re.search(r"\bFINDINGS\b", line):
            yield f"{name}:{number}: say the reason, not the number of a finding"
        if len(line.expandtabs(8)) > WIDEST:
            yield f"{name}:{number}: {len(line.expandtabs(8))} columns, {WIDEST} at most"
    if len(raw) > MOST_LINES:
        yield f"{name}:{len(raw)}: {len(raw)} lines, {MOST_LINES} at most: a file is about one thing"
    if name.endswith(".c") and not (len(raw) > 1 and raw[1].startswith("/*")):
        yield f"{name}:2: a file begins by saying what it is, its happy path and what can fail"


def prototypes(name, text):
    """Of a header: (line, function, has a comment above it or behind it)."""
    raw, code = text.split("\n"), blank(text).split("\n")
    depth, i = 0, 0
    while i < len(code):
        if depth == 0 and PROTOTYPE.match(code[i]) and not code[i].rstrip().endswith("\\"):
            last = i
            while last + 1 < len(code) and ";" not in code[last] and "{" not in code[last]:
                last += 1
            if code[last].rstrip().endswith(";"):
                above = raw[i - 1].rstrip() if i else ""
                behind = any("/*" in raw[k] or "//" in raw[k] for k in range(i, last + 1))
                yield i + 1, PROTOTYPE.match(code[i]).group(1), behind or above.endswith("*/") or above.lstrip().startswith("//")
                i = last + 1
                continue
        depth += code[i].count("{") - code[i].count("}")
        i += 1


def main(args):
    counts_only = "-c" in args
    folders = [a.rstrip("/") for a in args if a != "-c"] or FOLDERS
    bad, rooms, bare, all_prototypes = [], {}, [], 0
    for folder in folders:
        for name in tracked(folder, ".c", ".h"):
            text = read(name)
            bad += lines_of(name, text)
            room = rooms.setdefault(os.path.dirname(name), {"files": 0, "lines": 0, "asserts": 0, "bare": 0, "prototypes": 0})
            room["files"] += name.endswith(".c")
            room["lines"] += text.count("\n")
            room["asserts"] += len(re.findall(r"(?<!\w)(?:bug_if|bug_if_off_loop|assert|sm_go|magic_of|take_once|dl_add|dl_drop)\(", blank(text)))
            if name.endswith(".h"):
                for line, function, told in prototypes(name, text):
                    room["prototypes"] += 1
                    all_prototypes += 1
                    if not told:
                        room["bare"] += 1
                        bare.append(f"{name}:{line}: {function}: what does it promise, who owns what, which errors?")
    for name, room in sorted(rooms.items()):
        density = 1000 * room["asserts"] / max(room["lines"], 1)
        floor = HEART_FLOOR if name in HEARTS else FLOOR
        print(f"{name:<20} {room['files']:>3} .c {room['lines']:>6} lines {density:>5.1f} asserts/kLOC (floor {floor:.0f})"
              f" {room['bare']:>3} of {room['prototypes']:>3} prototypes bare")
        if density < floor:
            bad.append(f"{name}: {density:.1f} asserts per 1,000 lines, {floor:.0f} at least")
        if room["files"] > MOST_FILES:
            bad.append(f"{name}: {room['files']} .c files, {MOST_FILES} at most: which rooms are in it?")
    if all_prototypes and len(bare) > BARE_PROTOTYPES * all_prototypes:
        bad += bare
    if not counts_only and bad:
        print("\n".join(bad))
    print(f"style: {len(bad)} findings, {len(bare)} of {all_prototypes} prototypes without a contract")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
