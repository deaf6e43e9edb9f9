// SPDX-License-Identifier: Apache-2.0
/* The session with the managers: assignments in, reports out, heartbeats, certificate renewal.
 *
 *   NEW --start--> CONNECTING --open--> OPENING --SESSION_OPEN--> OPEN
 *                   ^      |                |                        |
 *             timer |      v lost           v refused                v lost, a gap in the sequence
 *                  WAITING (back-off 0.1 s .. two heartbeats; the named leader or the next of the list)
 *                                                              ENDED from each of them: agent_free
 * A certificate that has expired is renewed instead of OPENING: RENEWING, then WAITING for a new connection.
 * Tasks know nothing of it: they go on while there is no session. */
#pragma once
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sm.h"
#include "worker/context/worker.h"

struct agent;
extern const struct sm_kind agent_kind; /* its states, for tests */
/* Borrows w, whose identity, tasks, networks and logs must be there. Nothing happens before agent_start. */
struct agent *agent_new(struct worker *w);
/* Dial the first manager of the list, plan the renewal of the certificate. Once. */
void agent_start(struct agent *a);
/* End what is under way; the memory goes when the last connection and call have. NULL is fine. */
void agent_free(struct agent *a);
/* Something changed that the managers should know: at once when nothing is under way, else within 10 ms. */
void agent_report_soon(struct agent *a);
/* Within a second. */
void agent_report_later(struct agent *a);
/* There is a session: the managers know that this node lives. */
bool agent_is_open(const struct agent *a);
const char *agent_manager(const struct agent *a); /* "ip:port" of the session, or "" */
const char *agent_error(const struct agent *a);   /* why there is none, or "" */
/* Tell the managers that this node leaves, by its person's wish; done fires when they know it, or cannot be told any
 * more. false: there is no session, nothing is told and done does not fire. */
bool agent_leave(struct agent *a, void (*done)(void *arg), void *arg);
/* The identity changed or the list of managers did: dial again. */
void agent_reconnect(struct agent *a);
/* The certificate in the worker's state is on disk: it is taken into use, and shown by a new session. */
void agent_cert_saved(struct agent *a);
/* How long to wait before this certificate is renewed: until half of its life is over, looked at again now and then,
 * and never less than soonest_ms. E_INVALID: it is none. */
int agent_renew_wait(const char *cert_pem, int64_t now_ms, int64_t soonest_ms, int64_t *ret_ms,
		     struct err *e);
/* Its time is over, so that it is to be renewed before anything else. */
bool agent_cert_expired(const char *cert_pem, int64_t now_ms);
/* A line for `system dump`. */
void agent_dump(const struct agent *a, struct buf *out);
