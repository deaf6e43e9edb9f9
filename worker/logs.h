// SPDX-License-Identifier: Apache-2.0
/* Task logs: rotation, and answering the manager's demands on a second connection, so that a log cannot
 * starve the session's lease. */
#pragma once
#include "worker/worker.h"

struct logs;
struct logs *logs_new(struct worker *w);
void logs_free(struct logs *l);
/* The session's manager is where demands come from. */
void logs_session_opened(struct logs *l, const char *manager, const char *session_id);
void logs_session_closed(struct logs *l);
/* One line of conmon's k8s-file format, "TIME stdout|stderr F|P TEXT"; false when it is none. Borrowed from
 * line. */
bool log_line_parse(const char *line, size_t len, int64_t *ret_time_ms, bool *ret_is_stderr,
		    const char **ret_text, size_t *ret_len);
