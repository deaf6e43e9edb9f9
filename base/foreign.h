// SPDX-License-Identifier: Apache-2.0
/* Files in trees that somebody else may change while we work in them: a task's run folder, the data of a
 * volume, the folder of an image. Every such file is opened here and nowhere else.
 *
 * `root` is a path that only root can change, `name` a relative path beneath it that nobody is trusted with:
 *
 *   name walks out by "..", "/" or a mount     refused (-EXDEV)
 *   a symbolic link on the way or at the end   refused (-ELOOP); inside an image it is followed as a task
 *                                              would see it, never out of the image
 *   a FIFO, device, socket in a file's place   refused (E_FORBIDDEN) without waiting for its other end
 *   more bytes than the limit                  -E2BIG
 *
 * All calls block on the file system. Each is safe on any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Whole regular file, NUL-terminated (the NUL is not in ret_len; ret_len may be NULL); the caller frees.
 * -ENOENT as it is. */
int foreign_read(const char *root, const char *name, size_t limit, char **ret, size_t *ret_len,
		 struct err *e);
/* The same in an image: links are the image's own. root "" is the host's /. */
int foreign_read_image(const char *root, const char *name, size_t limit, char **ret, size_t *ret_len,
		       struct err *e);
/* Whether the image has something of that name (executable: that it is a regular file with an x bit). */
bool foreign_image_has(const char *root, const char *name, bool executable);

struct foreign_owner {
	uid_t uid;
	gid_t gid;
	mode_t mode; /* set as it is, whatever the umask */
};
/* Replace a regular file atomically and durably by "<name>.tmp" and a rename. What stands in the way of
 * either name and is no folder is replaced, never written through. */
int foreign_write(const char *root, const char *name, const void *data, size_t len,
		  const struct foreign_owner *owner, struct err *e);
/* A folder; one that is there gets owner and mode. Not recursive. */
int foreign_mkdir(const char *root, const char *name, const struct foreign_owner *owner, struct err *e);
/* A missing file is fine. */
int foreign_unlink(const char *root, const char *name, struct err *e);
/* Descriptor of a new, empty file (O_WRONLY); -EEXIST when anything of that name is there. Not synced. */
int foreign_create(const char *root, const char *name, const struct foreign_owner *owner, struct err *e);
/* Descriptor of a regular file, O_RDONLY; negative code. */
int foreign_open(const char *root, const char *name, struct err *e);
/* Descriptor (O_PATH) of a unix socket: connect to /proc/self/fd/<n> and get that one and no other. */
int foreign_socket(const char *root, const char *name, struct err *e);
