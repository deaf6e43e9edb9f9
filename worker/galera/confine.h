// SPDX-License-Identifier: Apache-2.0
/* What gswarm-archive gives up before it looks at bytes of others. For a process of one thread that does nothing
 * else; nothing of it can be taken back. Without root there is nothing to give up, and both do nothing. */
#pragma once
#include <sys/types.h>

#include "base/err.h"

/* May only read what others own, and write what root owns. */
int confine_to_reading(struct err *e);
/* Becomes uid:gid without any capability, network or file system but `dir`, whose files cannot be executed.
 * *ret_dir is where that is from now on. Descriptors that are open stay. */
int confine_to_folder(const char *dir, uid_t uid, gid_t gid, const char **ret_dir, struct err *e);
