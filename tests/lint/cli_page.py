#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md lists the verbs and options that the program has, word for word, and the shell's completion is the program's own.

  tests/lint/cli_page.py BUILD [--write]     BUILD: a folder with gswarm; --write: put the list into the page

The list stands between two marks in the page and is what `gswarm __markdown` prints from its option tables, from which
--help is printed, too. The daemons' manual pages name the options of their --help. Exit 1 when any of this differs.
"""
import difflib
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(TOP, "docs", "cli.md")
LIST = re.compile(r"(?<=<!-- made by tests/lint/cli_page.py -->\n).*?(?=<!-- end -->)", re.S)


def completion_differs(program):
    made = subprocess.run([program, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    with open(os.path.join(TOP, "packaging", "bash-completion", "gswarm"), encoding="utf-8") as f:
        return f.read().split("\n", 1)[1] != made


def daemon_pages_differ(build):
    """The options of a daemon's --help are those of its manual page."""
    bad = False
    for name in ("gswarm-worker", "gswarm-manager"):
        told = subprocess.run([os.path.join(build, name), "--help"], capture_output=True, text=True, check=True).stdout
        with open(os.path.join(TOP, "packaging", "man", name + ".8"), encoding="utf-8") as f:
            page = re.sub(r"\\f[BIR]", "", f.read()).replace("\\", "").split("SH OPTIONS")[1].split(".SH")[0]
        told, page = set(re.findall(r"^ +(--[\w-]+)", told, re.M)), set(re.findall(r"--[a-z][\w-]*", page))
        for option in sorted(told ^ page):
            print(f"packaging/man/{name}.8: {option} is {'missing' if option in told else 'no option of --help'}")
            bad = True
    return bad


def main(args):
    if daemon_pages_differ(args[0]):
        return 1
    if completion_differs(os.path.join(args[0], "gswarm")):
        print("packaging/bash-completion/gswarm: not what 'gswarm completion bash' prints")
        return 1
    made = subprocess.run([os.path.join(args[0], "gswarm"), "__markdown"], capture_output=True, text=True, check=True).stdout
    with open(PAGE, encoding="utf-8") as f:
        page = f.read()
    listed = LIST.search(page)
    if not listed:
        print("docs/cli.md: the marks of the list are gone")
        return 1
    if "--write" in args:
        with open(PAGE, "w", encoding="utf-8") as f:
            f.write(page[:listed.start()] + made + page[listed.end():])
        return 0
    diff = list(difflib.unified_diff(listed.group(0).split("\n"), made.split("\n"), "docs/cli.md", "gswarm --help", lineterm="", n=0))
    print("\n".join(diff[:40]))
    print(f"cli page: {'differs: tests/lint/cli_page.py BUILD --write' if diff else 'as --help'}")
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
