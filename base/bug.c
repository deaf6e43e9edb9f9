// SPDX-License-Identifier: Apache-2.0
/* The end of a program that found a mistake of its own. The happy path never comes here. A line that cannot
 * be written is lost: the core file tells the rest. */
#include "base/bug.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/sm.h"

static _Thread_local bool in_job;

void bug_die(const char *expression, const char *file, int line, const char *function)
{
	log_error("bug: %s at %s:%d in %s", expression, file, line, function);
	sm_trace_log(LOG_ERROR, 32);
	log_flush(200);
	abort();
}

void bug_job_begin(void)
{
	in_job = true;
}

void bug_job_end(void)
{
	in_job = false;
}

bool bug_in_job(void)
{
	return in_job;
}
