// SPDX-License-Identifier: Apache-2.0
/* The node's identity and what must survive a restart: <dir>/ca.crt node.crt node.key state.json.
 *
 * state.json is written last and removed first: a node is a member exactly when it exists and names a
 * cluster. A half-written join therefore leaves a node that is no member. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"

struct state {
	bool is_member, has_manager;
	char cluster_id[ID_LEN + 1], node_id[ID_LEN + 1];
	char advertise[64], data_path[64]; /* numeric addresses */
	char listen[80];                   /* of the manager, "ip:port" or empty */
	uint32_t data_path_port;
	char **managers;
	size_t n_managers;
	/* PEM; owned */
	char *ca, *cert, *key;
};

/* No membership is no error: is_member is false then. E_CORRUPT when files do not fit together. */
int state_load(const char *dir, struct state *ret, struct err *e);
/* Everything, durably. */
int state_save(const char *dir, const struct state *s, struct err *e);
/* Only state.json (the list of managers changed). */
int state_save_json(const char *dir, const struct state *s, struct err *e);
/* Only node.crt (renewed with the same key) and ca.crt: the manager sends its roots with it. */
int state_save_cert(const char *dir, const struct state *s, struct err *e);
int state_remove(const char *dir, struct err *e);
void state_fini(struct state *s);
