# SPDX-License-Identifier: Apache-2.0
# A text file as a C string: embed.py input name output
import json
import sys

lines = open(sys.argv[1], encoding="ascii").read().splitlines(keepends=True)
with open(sys.argv[3], "w", encoding="ascii") as out:
    out.write("#pragma once\nstatic const char %s[] =\n" % sys.argv[2])
    out.write("\n".join("\t" + json.dumps(line) for line in lines) + ";\n")
