// SPDX-License-Identifier: Apache-2.0
/* Files that must survive a crash: written to a temporary name, fsynced, renamed, the folder fsynced. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Replace path atomically and durably. The temporary file is "<path>.tmp". */
int fs_write(const char *path, const void *data, size_t len, mode_t mode, struct err *e);
/* write(2) until all of it is written. 0, or -1 and errno. */
int fs_write_all(int fd, const void *bytes, size_t len);
/* Whole file, NUL-terminated (the NUL is not in ret_len); -E2BIG over limit, -ENOENT as it is. Caller frees. */
int fs_read(const char *path, size_t limit, char **ret_data, size_t *ret_len, struct err *e);
/* mkdir -p; parents get 0755, the last one mode. An existing folder is fine and keeps its mode. */
int fs_mkdir(const char *path, mode_t mode, struct err *e);
/* What was created, renamed or removed in the folder is on the disk. -errno. Waits for the disk. */
int fs_sync_dir(const char *path, struct err *e);
/* rm -rf of a tree of any depth that stays on one file system and never follows a symlink, also while
 * somebody else works in the tree: -EXDEV for a mount in it, -EBUSY when it was moved under our feet. A
 * missing path is fine. Blocks for as long as the tree is large: on the pool. */
int fs_remove_all(const char *path, struct err *e);
/* A symlink is not followed. False also for what cannot be looked at. */
bool fs_exists(const char *path);
/* unlink; a missing file is fine. */
int fs_unlink(const char *path, struct err *e);
/* What may be somebody's data is not deleted but moved out of the way: those of the names (relative to dir,
 * each with another last part) that exist go to a new folder "<dir>/aside-<UTC time>", durably. *ret_where:
 * that folder, owned by the caller; NULL when none of them existed. After an error some may have been moved. */
int fs_set_aside(const char *dir, const char *const *names, size_t n, char **ret_where, struct err *e);
/* One process at a time: takes the file's lock until *ret_fd is closed or the process ends, and writes its pid into
 * it. E_IN_USE with the pid of who has it, after half a second (a predecessor that is just ending is waited for). */
int fs_lock(const char *path, int *ret_fd, struct err *e);
