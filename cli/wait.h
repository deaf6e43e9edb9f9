// SPDX-License-Identifier: Apache-2.0
/* Waiting for a service on the screen: `service create`, `scale` and `rm`, `galera recover`. */
#pragma once
#include "cli/opt.h"

enum wait_for { WAIT_CONVERGED, WAIT_GONE };
struct wait_options {
	enum wait_for what;
	bool is_quiet;   /* only the outcome counts */
	bool is_consent; /* what the controller says of the consent that was just given counts */
	bool is_new;     /* the service was just made: each of its attempts belongs to this wait */
	/* How long it must stay converged; -1: 5 s, and no time for a Galera cluster, which is Synced. */
	int64_t monitor_ms;
	int64_t timeout_ms; /* 0: wait for ever */
	int64_t patience_ms; /* for a slot that fails again and again; 0: 5 s, or the monitor if that is longer */
};
/* From --quiet, --update-monitor and --wait-timeout, those that the verb has. */
struct wait_options wait_options_of(const struct cmd *c, enum wait_for what);
/* 0: reached; 1: failed or timed out, said why; CLI_INTERRUPTED: Ctrl-C, it goes on without us;
 * negative: *e. */
int service_wait(struct cmd *c, const char *service, const struct wait_options *options, struct err *e);
