// SPDX-License-Identifier: Apache-2.0
/* What a starting member is doing, from the end of what its server printed. Pure; for the user's eyes only. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum start_phase {
	PHASE_STARTING,
	PHASE_CONNECTING,
	PHASE_WAITING_PRIMARY,
	PHASE_SST,
	PHASE_IST,
	PHASE_SYNCED
};
/* By the last line that tells one; log need not end in a NUL. */
enum start_phase progress_phase(const char *log, size_t len);
/* "sst 120 MiB", "ist", "waiting for primary"; bytes: allocated in the datadir; is_cut: at least. */
void progress_format(enum start_phase phase, uint64_t bytes, bool is_cut, char *ret, size_t n);
