// SPDX-License-Identifier: Apache-2.0
/* The member side of the agent, which is there while the node is in a swarm. */
#pragma once
#include "base/err.h"
#include "worker/context/worker.h"

/* Bring the member side up (runtime, tasks, network, agent, peer listener) from w->state. After an error what
 * came up is still there: worker_member_stop. */
int worker_member_start(struct worker *w, struct err *e);
/* The daemon's parts go, tasks and kernel objects stay. Also after half a start. */
void worker_member_stop(struct worker *w);
