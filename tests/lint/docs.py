#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Documents that cannot lie: what a page or a comment names must exist.

  tests/lint/docs.py [BUILD]      BUILD: a folder with the programs; then verbs and flags are asked of them

Pages: files and folders, links, functions `like_this()`, verbs `gswarm noun verb` and flags `--so` in backticks or code
blocks. Comments in C: file names and documents. Each finding is one line `file:line: what`; exit 1 when there is one.
"""
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE = ("base/", "proto/", "overlay/", "worker/", "manager/", "cli/", "tests/", "testbed/")
# Files that exist on a node, in a container or in a database, never in this tree.
FOREIGN_FILES = re.compile(r"^(grastate|gvwstate|state|gswarm|tool|my|config|resolv|ca|node|manager|worker|log|task|exits?)\b|galera\.cache"
                           r"|\.(sock|pid|crt|key|pb|json|cnf|dat|conf|log|so|lock|tmp)$")
# Programs whose flags these pages quote.
OTHERS_FLAGS = re.compile(r"\b(docker|podman|mariadbd?|mysqld|mariabackup|conmon|crun|runc|apt|apt-get|meson|ninja|pytest|nft|ip|clang|"
                          r"garbd|git|rsync|systemctl|valgrind|mount|unshare|fuzz_\w+)\b")


def git_files():
    return subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=True).stdout.split()


def read(name):
    with open(os.path.join(TOP, name), encoding="utf-8", errors="replace") as f:
        return f.read()


class Tree:
    def __init__(self, build):
        self.files = git_files()
        self.set = set(self.files)
        self.bases = {os.path.basename(f) for f in self.files}
        self.folders = {os.path.dirname(f) for f in self.files}
        self.folders |= {os.path.dirname(f) for f in self.folders}
        sources = [f for f in self.files if f.startswith(CODE) and not f.startswith(("tests/fuzz/corpus", "tests/lint"))]
        text = "\n".join(read(f) for f in sources if not f.endswith(".md"))
        self.words = set(re.findall(r"\w+", text))
        self.flags = set(re.findall(r"--[a-z][a-z0-9-]+", text)) | {"--" + w for w in re.findall(r'"([a-z][a-z0-9-]+)"', text)}
        self.generated = set(re.findall(r"[\w-]+\.(?:c|h)\b", "\n".join(read(f) for f in self.files if f.endswith("meson.build"))))
        self.program = os.path.join(build, "gswarm") if build else None
        self.known_verbs = {}

    def verb(self, words):
        """Whether `gswarm WORDS` is a verb: the program's own --help says."""
        if not self.program:
            return True
        key = tuple(words)
        if key not in self.known_verbs:
            done = subprocess.run([self.program, *words, "--help"], capture_output=True, text=True, check=False, timeout=20)
            self.known_verbs[key] = done.returncode == 0
        return self.known_verbs[key]

    def path(self, text, near):
        text = text.rstrip("/")
        if os.path.basename(text) in self.generated:
            return True
        for base in ("", os.path.dirname(near)):
            p = os.path.normpath(os.path.join(base, text))
            if p in self.set or p in self.folders:
                return True
        if any(c in text for c in "{*<"):
            return True
        return text.split("/")[0] in ("build", "build-tests")


def check_links(tree, name, number, line):
    for target in re.findall(r"\]\(([^)#\s]+)", line):
        if not target.startswith(("http:", "https:")) and not tree.path(target, name):
            yield f"{name}:{number}: link to {target}, which does not exist"


def check_code(tree, name, number, text):
    """text: what stands between backticks, or a line of a code block."""
    for word in re.findall(r"(?<![\w/.$<~-])((?:base|proto|overlay|worker|manager|cli|tests|testbed|docs|packaging)/[\w./-]*\w/?)(?![\w*{<])", text):
        if not tree.path(word, name):
            yield f"{name}:{number}: names {word}, which does not exist"
    for word in re.findall(r"\b([a-z][a-z0-9]*(?:_[a-z0-9]+)+)\(\)", text):
        if word not in tree.words:
            yield f"{name}:{number}: names {word}(), which is nowhere in the code"
    if not OTHERS_FLAGS.search(text) and "-->" not in text:
        for flag in re.findall(r"(?<![\w-])(--[a-z](?:-?[a-z0-9]+)+)(?![\w>-])", text):
            if flag not in tree.flags:
                yield f"{name}:{number}: names {flag}, which no program of ours has"
    m = re.match(r"\s*(?:sudo |build/)*gswarm ((?:[a-z]+ ?){1,2})", text)
    if m:
        words = m.group(1).split()
        if not any(tree.verb(words[:n]) for n in range(len(words), 0, -1)):
            yield f"{name}:{number}: 'gswarm {' '.join(words)}' is no verb"


def check_page(tree, name):
    block = False
    for number, line in enumerate(read(name).split("\n"), 1):
        if line.startswith("```"):
            block = not block
            continue
        yield from check_links(tree, name, number, line)
        spans = [line] if block or line.startswith("    ") else re.findall(r"`([^`]+)`", line)
        for text in spans:
            yield from check_code(tree, name, number, text)


def check_comments(tree, name):
    text = read(name)
    for m in re.finditer(r"/\*.*?\*/|(?<!:)//[^\n]*", text, flags=re.S):
        number = text.count("\n", 0, m.start()) + 1
        for word in re.findall(r"(?<![\w/.<>~{*-])((?:[\w-]+/)*[\w-]+\.(?:c|h|proto|py|md))(?![\w(])", m.group(0)):
            exists = tree.path(word, name) if "/" in word else word in tree.bases
            if not exists and not FOREIGN_FILES.search(word):
                yield f"{name}:{number + m.group(0).count(chr(10), 0, m.group(0).find(word))}: a comment names {word}, which does not exist"


def main(args):
    tree = Tree(args[0] if args else None)
    bad = []
    for name in tree.files:
        if name.endswith(".md"):
            bad += check_page(tree, name)
        elif name.endswith((".c", ".h", ".proto")):
            bad += check_comments(tree, name)
    print("\n".join(bad))
    print(f"docs: {len(bad)} findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
