// SPDX-License-Identifier: Apache-2.0
/* A datadir as one tar.zst, named by its SHA-256. Blocking: for the thread pool.
 *
 * Packing and unpacking are done by a program of its own, gswarm-archive (archive_main.c): it ends with its
 * work, so that libarchive and the dozen libraries behind it are not in every worker's memory for good, and
 * an archive from another node is parsed in a process that holds no key of ours. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define ARCHIVE_MAX_BYTES (1ull << 30) /* packed */
#define ARCHIVE_MAX_UNPACKED (8ull << 30)
#define ARCHIVE_DEADLINE_MS 600000 /* 8 GiB at 14 MiB/s */
#define SHA256_TEXT 65

/* Of the whole file, as lower-case hex. -errno; *ret and *ret_size are untouched then. */
int sha256_file(const char *path, char ret[SHA256_TEXT], uint64_t *ret_size, struct err *e);
bool sha256_is_valid(const char *text); /* 64 lower-case hex digits */

/* `program` is the path of gswarm-archive. It is killed after ARCHIVE_DEADLINE_MS and when the caller's
 * process ends. */

/* Pack dir into blob_dir/<sha256> without what belongs to one member only (auto.cnf, gvwstate.dat,
 * galera.cache, *.pem, sockets, pid files). Entries are sorted, owners and times are zero: equal data gives
 * equal bytes. */
int archive_pack(const char *program, const char *dir, const char *blob_dir, char ret_sha256[SHA256_TEXT],
		 uint64_t *ret_size, struct err *e);
/* Unpack into an empty dir; everything is owned by uid:gid and synced. E_CORRUPT for an absolute or climbing
 * path, a link, a device; E_LIMIT for a bomb. */
int archive_unpack(const char *program, const char *path, const char *dir, uid_t uid, gid_t gid,
		   struct err *e);
