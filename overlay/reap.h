// SPDX-License-Identifier: Apache-2.0
/* Links that were given up, and the thread that deletes them.
 *
 * Deleting a link waits for the kernel's read-copy-update machinery, some 30 ms each, though many can be
 * deleted together in the same time. So a link is put out of use at once (down, another name, a group of its
 * own) and its group is deleted by a thread, all that have gathered at a time. After a crash the group is
 * still there to be found: whatever is in it was ours and is to be deleted. */
#pragma once
#include "overlay/internal.h"

#define REAP_GROUP 0x67735744

/* The thread starts with the first link. */
void reap_init(struct overlay *o);
/* Deletes what is waiting, then ends the thread. */
void reap_fini(struct overlay *o);
/* Put the link out of use and have it deleted; its name is free on return. A missing one is fine. */
int reap_link(struct overlay *o, struct ns *ns, const char *name, struct err *e);
/* Have the group of this namespace deleted (again). */
void reap_group(struct overlay *o, struct ns *ns);
/* Whether this link's other half was given up in `ns` a moment ago; then that half is *ret_other. */
struct link;
/* *ret_other is untouched when it was not. */
bool reap_is_given_up(struct ns *ns, const struct link *link, struct link *ret_other);
/* Until nothing waits. */
void reap_wait(struct overlay *o);
