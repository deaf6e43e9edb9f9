#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the seed corpus: small valid inputs of each kind, and the edges of the limits.

usage: make-corpus.py ROOT-OF-THE-TREE
Messages are written as protobuf text and encoded by protoc, so that they follow the .proto files. Inputs
that a fuzzer found are added by hand beside these."""
import pathlib
import re
import subprocess
import sys

KINDS = {"HELLO": 0, "REQUEST": 1, "RESPONSE": 2, "EVENT": 3, "END": 4, "CANCEL": 5, "ERROR": 6, "WINDOW": 7}
SERVICES = {"Control": 1, "CA": 2, "Dispatcher": 3, "LogBroker": 4, "NodeLocal": 5, "Peer": 6}
META = 'meta { id: "x" version: 7 }'
TEXTS = {
    "IssueRequest": 'token: "GSWMTKN-1-a-b" worker_csr_pem: "pem" description { hostname: "docker1" advertise_ip: "\\300\\250\\067\\157" }',
    "InitClusterRequest": 'advertise_addr: "192.168.55.111" spec { heartbeat_ms: 1000 default_addr_pool: "10.0.0.0/8" } node_id: "n"',
    "ServiceCreateRequest": 'spec { name: "db" task { image: "host" env: "A=B" mounts { target: "/var/lib/mysql" } } replicas: 3 }',
    "NetworkCreateRequest": 'spec { name: "net" }',
    "NodeUpdateRequest": 'ref: "n" spec { role: ROLE_MANAGER labels { key: "a" value: "b" } } version: 3',
    "RefRequest": 'ref: "db" force: true',
    "ReportRequest": 'session_id: "s" tasks { task_id: "t" status { } } seqnos { task_id: "t" last_committed: -1 }',
    "SessionRequest": 'description { hostname: "docker1" resources { nano_cpus: 4 } }',
    "SessionEvent": 'kind: SESSION_ITEM seq: 4294967297 items { key: "task/x" version: 1 task { %s } }' % META,
    "Node": META,
    "Cluster": META,
    "ServiceDetail": 'service { %s } tasks { %s } nodes { %s }' % (META, META, META),
    "ListNodesResponse": 'nodes { %s } nodes { %s } self_id: "x"' % (META, META),
    "ViewPush": 'galera_cluster_id: "g" slot_id: "s" view { } epoch: 2',
    "LogPush": 'id: "l" lines { time_ms: 1 line: "hello" } end: true',
    "BlobChunk": 'data: "1234" total: 4',
}


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def frame(kind, call=0, service=0, method=0, payload=b"", **more):
    fields = {1: call, 2: KINDS.get(kind, kind), 3: service, 4: method}
    fields.update({5: more.get("deadline", 0), 6: more.get("window", 0), 7: more.get("priority", 0),
                   8: more.get("more", 0)})
    head = b"".join(bytes([n << 3]) + varint(v) for n, v in fields.items() if v)
    return (len(head) + len(payload)).to_bytes(4, "big") + len(head).to_bytes(2, "big") + head + payload


def encode(root, message, text):
    protos = sorted(str(p.relative_to(root)) for p in (root / "proto").glob("*.proto"))
    return subprocess.run(["protoc", "-I.", f"--encode=gs.{message}", *protos], cwd=root, input=text.encode(),
                          stdout=subprocess.PIPE, check=True).stdout


def methods(root):
    for path in sorted((root / "proto").glob("*.proto")):
        service, index = None, 0
        for line in path.read_text().splitlines():
            if m := re.match(r"service (\w+)", line):
                service, index = m.group(1), 0
            elif m := re.match(r"\s+rpc (\w+)\((\w+)\) returns \((\w+)\)", line):
                yield service, index, m.group(1), m.group(2), m.group(3)
                index += 1


def messages(root):
    yield "hello", bytes([0, 1, 0]) + encode(root, "Hello", 'protocol_min: 2 protocol_max: 2 node_id: "n"')
    yield "error", bytes([0, 2, 0]) + encode(root, "ErrorBody", 'code: -1008 message: "no such node"')
    yield "many-empty-rows", bytes([1, 3, 1]) + b"\x0a\x00" * 3000
    for service, index, name, request, answer in methods(root):
        for side, message in ((0, request), (1, answer)):
            if message in TEXTS:
                data = encode(root, message, TEXTS[message])
                yield f"{service}.{name}.{side}", bytes([SERVICES[service], index, side]) + data


def frames(root):
    hello = frame("HELLO", payload=encode(root, "Hello", "protocol_min: 2 protocol_max: 2"))
    ping = frame("REQUEST", 1, 6, 0, deadline=50)
    blob = frame("REQUEST", 3, 6, 1)
    view = frame("REQUEST", 5, 6, 2)
    yield "hello", hello
    yield "call", hello + ping
    yield "stream", hello + blob + frame("WINDOW", 3, window=1 << 20) + frame("WINDOW", 3, window=2**32 - 1)
    yield "cancel", hello + blob + view + frame("CANCEL", 3) + frame("CANCEL", 5) + frame("CANCEL", 5)
    yield "same-call-twice", hello + view + view
    yield "two-hellos", hello + hello
    yield "foreign-version", frame("HELLO", payload=encode(root, "Hello", "protocol_min: 9 protocol_max: 9"))
    yield "unknown-kind", hello + frame(9, 1)
    yield "unknown-method", hello + frame("REQUEST", 1, 6, 99) + frame("REQUEST", 3, 99, 0)
    first, last = dict(payload=b"\x0a\x08half", more=1), dict(payload=b"half")
    yield "pieces", hello + frame("REQUEST", 1, 6, 0, **first) + frame("REQUEST", 3, 6, 0, priority=1) + frame("REQUEST", 1, 6, 0, **last)
    yield "pieces-of-two", hello + frame("REQUEST", 1, 6, 0, **first) + frame("REQUEST", 3, 6, 0, **last)
    yield "answers", hello + frame("RESPONSE", 2) + frame("EVENT", 2) + frame("END", 2) + frame("ERROR", 2)
    yield "no-hello", ping
    yield "http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "too-long", b"\x00\x40\x00\x01\x00\x00"
    yield "long-header", b"\x00\x00\x02\x00\x01\x01"
    yield "header-over-body", b"\x00\x00\x00\x01\x00\x02\x00"
    yield "bad-header", b"\x00\x00\x00\x01\x00\x01\xff"


def answers(root):
    """What a server says to the calls 1 (ping), 3 (blob) and 5 (ping) of fuzz_client.c."""
    hello = frame("HELLO", payload=encode(root, "Hello", "protocol_min: 2 protocol_max: 2"))
    pong = encode(root, "PingResponse", 'node_id: "n"')
    chunk = encode(root, "BlobChunk", 'data: "abcdef" total: 6')
    wrong = encode(root, "ErrorBody", 'code: -1001 message: "not the leader" leader_addr: "10.0.0.1:2377"')
    event = frame("EVENT", 3, payload=chunk)
    yield "answers", hello + frame("RESPONSE", 1, payload=pong) + frame("RESPONSE", 5, payload=pong) + event + frame("END", 3)
    yield "errors", hello + frame("ERROR", 1, payload=wrong) + frame("ERROR", 3, payload=wrong) + frame("ERROR", 5)
    yield "refused", frame("ERROR", payload=wrong)
    yield "events", hello + event * 9 + frame("RESPONSE", 3, payload=chunk)
    yield "no-stream", hello + frame("EVENT", 1, payload=pong) + frame("RESPONSE", 1, payload=pong)
    yield "twice", hello + frame("RESPONSE", 1, payload=pong) * 2
    yield "unreadable", hello + frame("RESPONSE", 1, payload=b"\xff") + frame("EVENT", 3, payload=b"\xff") + frame("ERROR", 5, payload=b"\xff")
    yield "pieces", hello + frame("RESPONSE", 1, payload=pong, more=1) + frame("RESPONSE", 5, priority=1) + frame("RESPONSE", 1)
    yield "called-back", hello + frame("REQUEST", 2, 6, 0) + frame("CANCEL", 2) + frame("WINDOW", 2, window=99)
    yield "foreign-version", frame("HELLO", payload=encode(root, "Hello", "protocol_min: 9 protocol_max: 9"))


def behind_tls(root):
    for name, data in frames(root):
        records = b"".join(bytes([len(r)]) + r for r in (data[i:i + 200] for i in range(0, len(data), 200)))
        yield name, b"\1" + records
    yield "stranger", b"\0" + records


def tokens(root):
    yield "good", b"GSWMTKN-1-" + b"0123456789" * 5 + b"-" + b"abcde" * 5
    yield "version", b"GSWMTKN-2-" + b"0" * 50 + b"-" + b"a" * 25
    yield "capital", b"GSWMTKN-1-" + b"A" * 50 + b"-" + b"a" * 25
    yield "docker", b"SWMTKN-1-" + b"0" * 50 + b"-" + b"a" * 25
    yield "newline", b"GSWMTKN-1-" + b"0" * 50 + b"-" + b"a" * 25 + b"\n"


def addresses(root):
    for i, text in enumerate(["10.0.0.1", "10.0.0.0/24", "10.0.0.1/24", "0.0.0.0/0", "fd00::1", "fd00::/64", "::/0", "10.0.0.0/33",
                              "192.168.55.111:2377", "[fd00::1]:2377", "[fd00::1]", "1.2.3.4:0", "1.2.3.4:65536", "a:1",
                              "10.0.0.0/", "/24", "10.0.0.0/024", "10.0.0.0/-1", "[::1", ":2377", ""]):
        yield f"{i:02}", text.encode()


def certificates(root):
    def openssl(*args, data=None):
        return subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=True).stdout
    key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    rsa = openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
    subject = ["-subj", "/O=swarm/OU=gswarm-node/CN=node1", "-key", "/dev/stdin"]
    yield "csr", openssl("req", "-new", *subject, data=key)
    yield "csr-rsa", openssl("req", "-new", *subject, data=rsa)
    yield "cert", openssl("req", "-new", "-x509", "-days", "7000", *subject, data=key)
    yield "empty-cert", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
    yield "no-pem", b"hello\n"


def envelopes(root):
    def envelope(payload, version=1, length=None, pad=b"\0"):
        size = len(payload) if length is None else length
        return (b"GSE" + bytes([version]) + size.to_bytes(4, "big") + (7).to_bytes(8, "big") + bytes(range(16)) +
                payload + pad * (-len(payload) % 8))
    node = 'actions { object { node { meta { id: "n1" } description { hostname: "docker1" } } } }'
    task = 'actions { object { task { meta { id: "t1" } service_id: "s1" node_id: "n1" } } }'
    gone = 'actions { kind: ACTION_REMOVE object { task { meta { id: "t1" version: 1 } } } }'
    late = 'actions { kind: ACTION_UPDATE object { task { meta { id: "t1" version: 9 } } } }'
    names = "".join('actions { object { service { meta { id: "%s" } spec { name: "db" } } } }' % i for i in "ab")
    for name, text in {"empty": "", "create": node + task, "create-remove": task + gone, "stale": node + task + late,
                       "one-name-twice": names, "same-id-twice": node + node, "no-object": "actions { kind: ACTION_CREATE }",
                       "no-id": "actions { object { node { } } }",
                       "schema": 'actions { object { cluster { meta { id: "c" } schema_version: 2 } } }'}.items():
        yield name, envelope(encode(root, "StoreCommand", text + " now_ms: 5"))
    yield "newer", envelope(b"x", version=2)
    yield "length", envelope(b"12345678", length=9)
    yield "huge", envelope(b"12345678", length=2**32 - 1)
    yield "padding", envelope(b"x", pad=b"y")
    yield "garbage", envelope(b"\xff" * 16)


def main(root):
    kinds = {"frame": frames, "conn": frames, "client": answers, "tls": behind_tls, "message": messages, "token": tokens,
             "addr": addresses, "cert": certificates,
             "envelope": envelopes}
    for kind, seeds in kinds.items():
        folder = root / "tests/fuzz/corpus" / kind
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds(root):
            (folder / name).write_bytes(data)


main(pathlib.Path(sys.argv[1]).resolve())
