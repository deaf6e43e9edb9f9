// SPDX-License-Identifier: Apache-2.0
/* One connection to a local server over its unix socket, on the loop: nothing here ever blocks.
 * Connects when a query needs it, keeps the connection, drops it at the first error. One query at a time. */
#pragma once
#include <mysql.h>
#include <uv.h>

#include "base/err.h"

struct sql;
/* The socket's folder may be a task's: only a socket that lies in it itself is connected to. */
struct sql *sql_new(uv_loop_t *loop, const char *socket_path, const char *user, const char *password);
/* Ends a running query without its callback; frees itself later. */
void sql_close(struct sql *s);
bool sql_is_busy(const struct sql *s);
/* done exactly once, not from inside; res is NULL for a statement without rows and on error; valid in the
 * callback. setup (may be NULL) runs once on each new connection, before the first query. */
void sql_run(struct sql *s, const char *setup, const char *query, uint64_t timeout_ms,
	     void (*done)(MYSQL_RES *res, const struct err *e, void *arg), void *arg);
