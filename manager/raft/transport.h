// SPDX-License-Identifier: Apache-2.0
/* How managers reach each other's raft. With one voter there is nobody to reach: connect fails at once,
 * nothing is accepted. Several managers come with streams that the RPC listener hands over (ALPN
 * gswarm-raft/1). */
#pragma once
#include <raft.h>
#include <raft/uv.h>

/* Fill in the functions that raft_uv_init wants. t lives as long as the instance. */
void raft_transport_init(struct raft_uv_transport *t);
