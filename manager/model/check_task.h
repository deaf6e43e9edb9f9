// SPDX-License-Identifier: Apache-2.0
/* What a task may be asked to be: its program, mounts, limits. What is let through here reaches every node
 * that the task is placed on, so what no node could run is refused here (one name that was not UTF-8 could
 * end one worker after the other). Pure. */
#pragma once
#include "base/err.h"
#include "proto/schema/objects.pb-c.h"

#define STOP_GRACE_MAX_MS (24u * 3600 * 1000)
#define TMPFS_MAX_BYTES (1ull << 40)
#define CPUS_LEAST_NANO 10000000u /* one millisecond of the kernel's 100: its least quota */
#define PIDS_MAX (1u << 22)       /* PID_MAX_LIMIT: a larger number in pids.max is EINVAL */

/* "host" or "dir:/absolute/path". */
int check_image(const char *image, struct err *e);
/* All of it but networks, and what a topology demands. Paths in *t are cleaned ("/a//b/" becomes "/a/b"), so
 * that two mounts on one place can be told. E_INVALID or E_LIMIT. */
int check_task(Gs__TaskSpec *t, struct err *e);
