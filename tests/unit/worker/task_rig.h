// SPDX-License-Identifier: Apache-2.0
/* A worker's table of tasks with a real runtime and spawner in a folder of its own; no manager, no networks. A "worker
 * that was killed" is one whose table is closed: containers go on, and the next one finds them on disk. */
#pragma once
#include "base/loop.h"
#include "worker/context/worker.h"
#include "worker/task/impl.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbb"

struct rig {
	uv_loop_t loop;
	struct worker w;
	struct loop_timer guard, tick;
	char dir[64];
	char *abs;
	const struct task_driver_ops *galera; /* for rig_worker_open, as the next two */
	const char *crun;                     /* NULL: the real one */
	int64_t create_ms;
	bool timed_out;
};

int rig_open(void **s);
int rig_close(void **s);
void rig_worker_open(struct rig *g);
void rig_worker_close(struct rig *g);
/* Mounts from here on are nobody else's. False: that cannot be. True without root: no test mounts then. */
/* tasks_load when the folder can be listed, and then no descriptor is left for a file in it. */
void rig_load_out_of_descriptors(struct rig *g);
bool rig_mounts_are_ours(void);
bool rig_can_run(void); /* containers: root, crun, conmon, cgroups */
/* A network namespace of the task's name, so that it can be started (after rig_mounts_are_ours). */
void rig_netns(const char *name);

Gs__Task *rig_task(const char *id); /* "true" on the host's image; its name is "unit-test-job.1" */
/* The last report of the task, NULL: it tells nothing. Owned by the caller. */
Gs__TaskStatus *rig_status(struct rig *g, const char *id);
/* Until the task reports this state or ten seconds are over. The report is the caller's. */
Gs__TaskStatus *rig_wait_state(struct rig *g, const char *id, Gs__TaskState state);
void rig_wait_step(struct rig *g, const char *id, enum task_step step);
void rig_run_until(struct rig *g, bool (*is)(const char *path), const char *path);
bool rig_is_gone(const char *path);
