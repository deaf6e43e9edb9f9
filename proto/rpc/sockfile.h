// SPDX-License-Identifier: Apache-2.0
/* The file of a listening unix socket. Whoever holds the lock on "<path>.lock" owns the path: only he may
 * remove what lies there, so that two daemons cannot take each other's live socket away. */
#pragma once
#include <sys/types.h>

#include "base/err.h"

struct sockfile {
	char *path;
	int lock;  /* held as long as the socket is served */
	dev_t dev; /* what we bound, so that we remove nothing else */
	ino_t ino;
};

/* Takes the lock, removes a socket that nobody answers on any more and binds a new one, root:<group> 0660
 * (group NULL or unknown: the mode alone). *ret_fd is the socket, bound, not yet listening. E_IN_USE: another
 * daemon serves the path; E_EXISTS: something else lies there. Waits up to half a second for a dead daemon's
 * last child to let go. */
int sockfile_bind(struct sockfile *f, const char *path, const char *group, int *ret_fd, struct err *e);
/* Removes the socket, if it is still ours, and lets the lock go. */
void sockfile_release(struct sockfile *f);
