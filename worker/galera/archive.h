// SPDX-License-Identifier: Apache-2.0
/* A datadir as one tar.zst, named by its SHA-256. Blocking: for the thread pool. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define ARCHIVE_MAX_BYTES (1ull << 30) /* packed */
#define ARCHIVE_MAX_UNPACKED (8ull << 30)
#define SHA256_TEXT 65

int sha256_file(const char *path, char ret[SHA256_TEXT], uint64_t *ret_size, struct err *e);
bool sha256_is_valid(const char *text); /* 64 lower-case hex digits */
/* Pack dir into blob_dir/<sha256> without what belongs to one member only (auto.cnf, gvwstate.dat,
 * galera.cache,
 * *.pem, sockets, pid files). Entries are sorted, owners and times are zero: equal data gives equal bytes. */
int archive_pack(const char *dir, const char *blob_dir, char ret_sha256[SHA256_TEXT], uint64_t *ret_size,
		 struct err *e);
/* Unpack into an empty dir; everything is owned by uid:gid and synced. E_CORRUPT for an absolute or climbing
 * path, a link, a device; E_LIMIT for a bomb. */
int archive_unpack(const char *path, const char *dir, uid_t uid, gid_t gid, struct err *e);
/* True for a name that never travels. */
bool archive_leaves_out(const char *name);
