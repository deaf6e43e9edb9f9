// SPDX-License-Identifier: Apache-2.0
/* Control groups of tasks: /gswarm/<node id>/<task id>.<attempt>, in every hierarchy (v1, hybrid) or in the
 * one of v2. */
#pragma once
#include "base/err.h"

enum cgroup_layout { CGROUP_NONE, CGROUP_V1, CGROUP_HYBRID, CGROUP_V2 };
/* "/gswarm/<node id>/<name>", or the node's own with name NULL; the caller frees it. */
char *cgroup_path_new(const char *node_id, const char *name);
/* What is mounted at /sys/fs/cgroup in the caller's mount namespace. One or two statfs(2). */
enum cgroup_layout cgroup_layout_get(void);
/* Remove this path from every hierarchy; busy for a moment after the last process is fine. Blocking. */
void cgroup_remove(const char *path);
/* SIGKILL to every process in it. */
void cgroup_kill(const char *path);
/* Put a process into /gswarm/<node id>/<name>, so that it is outside the worker's own group. Best effort. */
int cgroup_enter(const char *path, int pid, struct err *e);
