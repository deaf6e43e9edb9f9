// SPDX-License-Identifier: Apache-2.0
/* Who this node is in which swarm: what must survive a restart. worker/node/membership_files.h keeps it on disk. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

/* Which files of it are to be written: state.json; node.crt (and ca.crt). */
enum { STATE_JSON = 1, STATE_CERT = 2 };

struct membership {
	bool is_member, has_manager;
	char cluster_id[ID_LEN + 1], node_id[ID_LEN + 1];
	char advertise[64], data_path[64];               /* numeric addresses that others are told */
	char chosen_advertise[64], chosen_data_path[64]; /* by the user, while the host may have others */
	uint32_t data_path_port;
	char **managers;
	size_t n_managers;
	/* PEM; owned */
	char *ca, *cert, *key;
};
/* A copy with everything it owns. */
void membership_dup(const struct membership *s, struct membership *ret);
/* Frees what it owns; it is empty then. */
void membership_fini(struct membership *s);
