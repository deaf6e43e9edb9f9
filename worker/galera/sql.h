// SPDX-License-Identifier: Apache-2.0
/* One connection to a local server over its unix socket, on the loop: nothing here ever blocks.
 * Connects when a query needs it, keeps the connection, drops it at the first error. One query at a time.
 * The server is not trusted: an answer is a thousand rows, a packet 64 KiB, a call 256 KiB and timeout_ms. */
#pragma once
#include <mysql.h>
#include <uv.h>

#include "base/err.h"

struct sql;
/* The socket's folder may be a task's: only a socket that lies in it itself is connected to. */
struct sql *sql_new(uv_loop_t *loop, const char *socket_path, const char *user, const char *password);
/* Ends a running query without its callback; frees itself later. */
void sql_close(struct sql *s);
/* A query is under way: sql_run has to wait. */
bool sql_is_busy(const struct sql *s);
/* One row, as text: a value is NULL or ends in a NUL. What it says, and how many there are, is the server's
 * word. From inside no sql_ function may be called. */
typedef void (*sql_row_fn)(const char *const *values, unsigned n_values, void *arg);
/* e is NULL when all rows have come. */
typedef void (*sql_done_fn)(const struct err *e, void *arg);
/* done exactly once, not from inside; row (may be NULL) before it for each row, also of an answer that fails
 * further on. setup (may be NULL) runs once on each new connection, before the first query. */
void sql_run(struct sql *s, const char *setup, const char *query, uint64_t timeout_ms, sql_row_fn row,
	     sql_done_fn done, void *arg);
