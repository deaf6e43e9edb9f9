// SPDX-License-Identifier: Apache-2.0
/* The session with the managers: assignments in, reports out, heartbeats, certificate renewal.
 *
 *   CLOSED --timer--> CONNECTING --open--> OPENING --SESSION_OPEN--> OPEN
 *      ^                  |                   |                        |
 *      +---- back-off 0.1 .. 4 s, next manager in the list ------------+ lost, sequence gap
 * Tasks know nothing of it: they go on while there is no session. */
#pragma once
#include <stdbool.h>

#include "base/buf.h"
#include "worker/worker.h"

struct agent;
struct agent *agent_new(struct worker *w);
void agent_start(struct agent *a);
void agent_free(struct agent *a);
/* Something changed that the managers should know: at once when nothing is under way, else within 10 ms. */
void agent_report_soon(struct agent *a);
/* Within a second. */
void agent_report_later(struct agent *a);
bool agent_is_open(const struct agent *a);
const char *agent_manager(const struct agent *a); /* "ip:port" of the session, or "" */
const char *agent_error(const struct agent *a);   /* why there is none, or "" */
const char *agent_session_id(const struct agent *a);
/* The identity changed or the list of managers did: dial again. */
void agent_reconnect(struct agent *a);
void agent_dump(const struct agent *a, struct buf *out);
