#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn the `// @role ...` comments beside the methods in the .proto files into proto/roles.h."""
import re
import sys

BITS = {"none": "ROLE_BIT_NONE", "worker": "ROLE_BIT_WORKER", "manager": "ROLE_BIT_MANAGER", "local": "ROLE_BIT_LOCAL"}
NUMBERS = {"Control": "RPC_CONTROL", "CA": "RPC_CA", "Dispatcher": "RPC_DISPATCHER", "LogBroker": "RPC_LOG_BROKER",
           "NodeLocal": "RPC_NODE_LOCAL", "Peer": "RPC_PEER"}


def main(protos, out):
    rows = []
    for path in protos:
        service = None
        index = 0
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            if m := re.match(r"service (\w+)", line):
                service, index = m.group(1), 0
            elif m := re.match(r"\s+rpc (\w+)\(", line):
                role = re.search(r"@role ([a-z ]+)", line)
                words = [w for w in (role.group(1).split() if role else []) if w in BITS]
                if not words:
                    sys.exit(f"{path}:{number}: method {m.group(1)} has no @role")
                rows.append((NUMBERS[service], index, " | ".join(BITS[w] for w in words), m.group(1)))
                index += 1
    with open(out, "w", encoding="utf-8") as f:
        f.write("/* generated from the .proto files */\nstatic const struct {\n\tunsigned service, method, roles;\n} roles[] = {\n")
        for service, index, bits, name in rows:
            f.write(f"\t{{{service}, {index}, {bits}}}, /* {name} */\n")
        f.write("};\n")


main(sys.argv[1:-1], sys.argv[-1])
