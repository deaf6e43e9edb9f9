// SPDX-License-Identifier: Apache-2.0
/* What a starting server is busy with, by the last of a few known lines. A text without one is "starting". */
#include "worker/galera/progress.h"

#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"

static const struct {
	const char *text;
	enum start_phase phase;
} marks[] = {
	{"Starting MariaDB", PHASE_STARTING},
	{"gcomm: connecting to group", PHASE_CONNECTING},
	{"No nodes coming from primary view", PHASE_WAITING_PRIMARY},
	{"Running: 'wsrep_sst_", PHASE_SST},
	{"SST received", PHASE_IST},
	{"Receiving IST", PHASE_IST},
	{"Synchronized with group", PHASE_SYNCED},
};

enum start_phase progress_phase(const char *log, size_t len)
{
	enum start_phase phase = PHASE_STARTING;
	const char *last = NULL;

	for (size_t i = 0; i < array_size(marks); i++) {
		const char *at = log, *end = log + len, *hit;

		while ((hit = memmem(at, end - at, marks[i].text, strlen(marks[i].text)))) {
			if (!last || hit > last) {
				last = hit;
				phase = marks[i].phase;
			}
			at = hit + 1;
		}
	}
	return phase;
}

void progress_format(enum start_phase phase, uint64_t bytes, bool is_cut, char *ret, size_t n)
{
	static const char *const names[] = {"starting", "connecting", "waiting for primary",
					    "sst",      "ist",        "synced"};

	bug_if(n == 0);
	if (phase == PHASE_SST)
		snprintf(ret, n, "sst %s%llu MiB", is_cut ? "over " : "", (unsigned long long)(bytes >> 20));
	else
		snprintf(ret, n, "%s", (size_t)phase < array_size(names) ? names[phase] : "?");
}
