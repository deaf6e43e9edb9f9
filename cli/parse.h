// SPDX-License-Identifier: Apache-2.0
/* Values as Docker's users write them. Each function fills its output or says in *e, with CLI_USAGE,
 * what it did not understand; then the output is untouched. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/value/obj.h"

/* "1m30s", "500ms"; a bare 0. */
int parse_duration(const char *text, uint64_t *ret_ns, struct err *e);
/* A moment in ms since 1970: "10m" (before now_ms), seconds since 1970 ("1795186053.5"), or RFC 3339
 * and its beginnings ("2026-11-20", "2026-11-20T14:03", "...:02.5", "...Z", "...+02:00"); without an
 * offset it is local time. */
int parse_time(const char *text, int64_t now_ms, int64_t *ret_ms, struct err *e);
/* "512m", "1.5g", "100kb", "42"; powers of 1024. */
int parse_bytes(const char *text, uint64_t *ret, struct err *e);
/* "0.5" is 500,000,000. */
int parse_cpus(const char *text, uint64_t *ret_nano, struct err *e);
/* Decimal digits; at most `limit`. */
int parse_uint(const char *text, uint64_t limit, uint64_t *ret, struct err *e);
/* "type=volume,source=data,target=/data,readonly"; *ret is the caller's, by obj_free, here and below. */
int parse_mount(const char *text, Gs__Mount **ret, struct err *e);
/* "8080:80/tcp", "80", "published=8080,target=80,mode=host" */
int parse_port(const char *text, Gs__Port **ret, struct err *e);
/* "NET" or "name=NET,alias=A,alias=B" */
int parse_network(const char *text, Gs__NetworkAttach **ret, struct err *e);
/* "KEY=VALUE" or "KEY" */
int parse_label(const char *text, Gs__Label **ret, struct err *e);
/* "K=V" as it is, "K" with this process's value; NULL and 0 when K is not set here. */
int parse_env(const char *text, char **ret, struct err *e);
/* Adds the file's lines to the list; blank lines and those that begin with # are none. */
int parse_env_file(const char *path, size_t *n, char ***list, struct err *e);
