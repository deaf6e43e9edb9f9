// SPDX-License-Identifier: Apache-2.0
/* Watches one running server over its socket and tells what it sees.
 *
 * Every 100 ms until the member is Synced in a Primary view, then every 500 ms; a poll that is still under
 * way is never overtaken. No socket is no error: a joiner has none before its state transfer ends. */
#pragma once
#include <stdbool.h>
#include <uv.h>

#include "proto/value/obj.h"
#include "worker/galera/view.h"

struct probe;
struct probe_config {
	const char *socket_path, *user, *password;
	/* Each poll's result; the probe sets everything but health. sql_open false: nothing is known. */
	void (*on_poll)(Gs__GaleraView *view, bool stalled, void *arg);
	void *arg;
};
/* Copies the config; the first poll is at once, but not from inside. */
struct probe *probe_new(uv_loop_t *loop, const struct probe_config *config);
void probe_free(struct probe *p); /* no callback afterwards */
