// SPDX-License-Identifier: Apache-2.0
/* Who is at the other end of a unix socket, and whether we talk to them. */
#pragma once
#include "proto/rpc/rpc.h"

/* Fills uid, gid and pid. */
int peercred_get(int fd, struct rpc_peer *peer, struct err *e);
/* Root, or a member of group (primary or supplementary); group NULL: root only. E_FORBIDDEN. */
int peercred_check(const struct rpc_peer *peer, const char *group, struct err *e);
/* false when the host has no such group. */
bool peercred_group_id(const char *group, gid_t *ret);
