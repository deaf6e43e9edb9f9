// SPDX-License-Identifier: Apache-2.0
/* Sessions with workers: assignments down, reports up (proto/schema/dispatch.proto; docs/manager.md, "Dispatcher").
 *
 * What is remembered here is leader memory: who was heard when, and the seqno each member last sent. It is
 * rebuilt from the workers after a change of leader. */
#pragma once
#include "manager/daemon/manager.h"

struct dispatcher *dispatcher_new(struct manager *m);
void dispatcher_register(struct dispatcher *d);
void dispatcher_close(struct dispatcher *d); /* its timers */
void dispatcher_free(struct dispatcher *d);
/* The store has changed: sessions get the difference within a few milliseconds. */
void dispatcher_changed(struct dispatcher *d);
/* Leadership is gone: sessions end, memory is dropped. */
void dispatcher_reset(struct dispatcher *d);
int64_t dispatcher_last_seen_ms(struct dispatcher *d, const char *node_id); /* <0: no session yet */
int64_t dispatcher_seqno(struct dispatcher *d, const char *task_id);        /* <0: none */
