// SPDX-License-Identifier: Apache-2.0
/* Errors with context.
 *
 * A function that can fail returns 0 or a negative code and fills the caller's struct err. Codes are
 * -errno or one of our own below -1000; both travel on the wire as they are. The message gains context
 * on the way up: err_wrap(e, "attach %s", id) makes "attach db.1: no such device". */
#pragma once
#include <stdarg.h>
#include <stdbool.h>

enum err_code {
	E_NOT_LEADER = -1001,
	E_STALE_VERSION = -1003,
	E_UNSAFE_BOOTSTRAP = -1004,
	E_NOT_MANAGER = -1005,
	E_UNAUTHENTICATED = -1006,
	E_FORBIDDEN = -1007,
	E_NOT_FOUND = -1008,
	E_EXISTS = -1009,
	E_IN_USE = -1010,
	E_INVALID = -1011,
	E_PROTOCOL = -1012,
	E_DEADLINE = -1013,
	E_CANCELLED = -1014,
	E_CLOSED = -1015,
	E_LIMIT = -1016,
	E_UNAVAILABLE = -1017,
	E_EXHAUSTED = -1018,
	E_CORRUPT = -1019,
	E_TOKEN = -1020,
	E_BLOCKED = -1022,
};

struct err {
	int code;      /* 0: no error */
	char msg[256]; /* one line of UTF-8: see err.c */
};

/* Both return the code, so that `return err_set(e, ...)` reads well. e may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Prefix "<context>: " to the message and return the code that is already in e. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Message "<context>: <strerror(errno_value)>", code -errno_value. */
int err_errno(struct err *e, int errno_value, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* No error any more; e may be NULL. */
void err_clear(struct err *e);
/* "NOT_LEADER" or "ENOENT"; never NULL. */
const char *err_name(int code);
