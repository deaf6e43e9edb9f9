// SPDX-License-Identifier: Apache-2.0
/* Who is at the other end of a unix socket, and whether we talk to them. */
#pragma once
#include "proto/rpc/rpc.h"

/* Fills uid, gid and pid. */
int peercred_get(int fd, struct rpc_peer *peer, struct err *e);
/* Root, or a process that had the group (its name for the message, its id) when it connected, as its primary or as a
 * supplementary one; gid NULL: root only. E_FORBIDDEN. Looks nothing up. */
int peercred_check(int fd, const struct rpc_peer *peer, const char *group, const gid_t *gid, struct err *e);
/* false when the host has no such group. Asks NSS: not for a loop that others wait for. */
bool peercred_group_id(const char *group, gid_t *ret);
