#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the .proto files say that protoc-c does not print, as three headers:

methods.h  numbers of services (`// @number n` in front of each) and of methods (their order in the .proto)
roles.h    who may call what, from the `// @role ...` beside each method
names.h    enumerators by their own name: TASK_RUNNING for GS__TASK_STATE__TASK_RUNNING, ITEM_TASK of a oneof `item`
"""
import re
import sys
from pathlib import Path

BITS = {"none": "ROLE_BIT_NONE", "worker": "ROLE_BIT_WORKER", "manager": "ROLE_BIT_MANAGER", "local": "ROLE_BIT_LOCAL",
        "expired": "ROLE_BIT_EXPIRED"}
HEAD = "/* generated from the .proto files */\n"


def upper(name):
    """LogBroker -> LOG_BROKER, GetBlob -> GET_BLOB, CA -> CA; as protoc-c does it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


class Service:
    def __init__(self, name, number):
        self.name, self.number, self.methods = name, number, []

    @property
    def id(self):
        return "RPC_" + upper(self.name)

    def method(self, name):
        return f"{upper(self.name)}_{upper(name)}"


def roles_of(line, where, method):
    said = re.search(r"@role ([a-z ]+)", line)
    words = [w for w in (said.group(1).split() if said else []) if w in BITS]
    if not words:
        sys.exit(f"{where}: method {method} has no @role")
    return " | ".join(BITS[w] for w in words)


def read_services(path):
    services, number = [], None
    for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if m := re.match(r"// @number (\d+)$", line):
            number = int(m.group(1))
        elif m := re.match(r"service (\w+)", line):
            if number is None:
                sys.exit(f"{path}:{n}: service {m.group(1)} has no @number in front")
            services.append(Service(m.group(1), number))
            number = None
        elif m := re.match(r"\s+rpc (\w+)\(", line):
            services[-1].methods.append((m.group(1), roles_of(line, f"{path}:{n}", m.group(1))))
    return services


def read_names(path):
    """(short name, protoc-c's name) of every enumerator, those of `oneof` included."""
    text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    for name, body in re.findall(r"^enum (\w+)\s*\{([^}]*)\}", text, re.M):
        for value in re.findall(r"(\w+)\s*=\s*\d+", body):
            yield value, f"GS__{upper(name)}__{value}"
    message = ""
    for m in re.finditer(r"^message (\w+)|oneof (\w+)\s*\{([^}]*)\}", text, re.M):
        message = m.group(1) or message
        if m.group(2):
            case = upper(m.group(2))
            yield f"{case}_NOT_SET", f"GS__{upper(message)}__{case}__NOT_SET"
            for field in re.findall(r"(\w+)\s*=\s*\d+", m.group(3)):
                yield f"{case}_{upper(field)}", f"GS__{upper(message)}__{case}_{upper(field)}"


def methods_h(services):
    lines = ["#pragma once", "enum rpc_service_id {"]
    lines += [f"\t{s.id} = {s.number}," for s in services]
    lines += ["\tRPC_SERVICES, /* one more than the last number */", "};"]
    for s in services:
        lines.append(f"enum rpc_{upper(s.name).lower()}_method {{")
        lines += [f"\t{s.method(m)}," for m, _ in s.methods]
        lines += [f"\t{upper(s.name)}_METHODS,", "};"]
    most = max(len(s.methods) for s in services)
    return lines + [f"#define RPC_METHODS_MAX {most}"]


def roles_h(services):
    lines = ["static const unsigned char roles[RPC_SERVICES][RPC_METHODS_MAX] = {"]
    for s in services:
        lines += [f"\t[{s.id}] = {{"] + [f"\t\t[{s.method(m)}] = {bits}," for m, bits in s.methods] + ["\t},"]
    return lines + ["};"]


def names_h(paths):
    """Needs nothing: who uses a name includes the .pb-c.h that it stands for."""
    lines, seen = ["#pragma once"], {}
    for path in paths:
        for short, full in read_names(path):
            if short in seen:
                sys.exit(f"{path}: {short} is {full} and {seen[short]}")
            seen[short] = full
    return lines + [f"#define {short} {full}" for short, full in seen.items()]


def main(protos, out):
    paths = [Path(p) for p in protos]
    services = sorted((s for p in paths for s in read_services(p)), key=lambda s: s.number)
    if [s.number for s in services] != list(range(1, len(services) + 1)):
        sys.exit("service numbers must run from 1 without a gap")
    for name, lines in (("methods", methods_h(services)), ("roles", roles_h(services)), ("names", names_h(paths))):
        (Path(out) / f"{name}.h").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


main(sys.argv[1:-1], sys.argv[-1])
