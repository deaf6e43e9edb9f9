// SPDX-License-Identifier: Apache-2.0
/* Task logs: rotation, and answering the manager's demands on a second connection, so that a log cannot
 * hold up the session's heartbeats. */
#pragma once
#include "worker/context/worker.h"

struct logs;
/* Rotates the logs of w's tasks from now on. */
struct logs *logs_new(struct worker *w);
/* Closes; freed once jobs and calls under way have ended. NULL is fine. */
void logs_free(struct logs *l);
/* The session's manager is where demands come from. */
void logs_session_opened(struct logs *l, const char *manager, const char *session_id);
/* Demands end; the connection is closed. */
void logs_session_closed(struct logs *l);
