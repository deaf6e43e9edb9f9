// SPDX-License-Identifier: Apache-2.0
/* Deleting a volume's data for good.
 *
 * The happy path is: its folder, which carries the marker of this volume, is renamed; then nothing opens it by
 * its id any more, whatever of it is left. The note that it was made goes, then the tree. A crash in between is
 * made good by doing it again. What can fail: a folder that is somebody else's, a mount in it, a disk that is
 * not there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "worker/bundle/bundle.h"

/* Without a marker it is empty, or somebody else's: as volume_prepare has it. */
static int marker_is_ours(const char *dir, const char *volume_id, struct err *e)
{
	cleanup_free char *marker = xasprintf("%s/volume", dir);
	cleanup_free char *data = xasprintf("%s/data", dir);
	cleanup_free char *want = xasprintf("volume=%s ", volume_id);
	cleanup_free char *text = NULL;
	int rc = fs_read(marker, 4096, &text, NULL, e);

	if (rc == -ENOENT && !fs_exists(data)) {
		err_clear(e);
		return 0;
	}
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc == 0 && strncmp(text, want, strlen(want)) == 0)
		return 0;
	err_clear(e);
	return err_set(e, E_IN_USE, "%s holds other data than this volume's: look at it, it is left alone",
		       dir);
}

/* What is on a disk of its own is not deleted half. */
static int not_mounted(const char *path, dev_t around, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(e, errno, "look at %s", path);
	if (st.st_dev == around)
		return 0;
	return err_set(e, E_IN_USE, "%s is a mount: unmount it first (what is on that disk stays)", path);
}

static int set_apart(const char *volumes_dir, const char *dir, const char *gone, const char *volume_id,
		     struct err *e)
{
	cleanup_free char *data = xasprintf("%s/data", dir);
	struct stat st;

	if (stat(volumes_dir, &st) < 0)
		return err_errno(e, errno, "look at %s", volumes_dir);
	if (marker_is_ours(dir, volume_id, e) < 0 || not_mounted(dir, st.st_dev, e) < 0 ||
	    not_mounted(data, st.st_dev, e) < 0 || fs_remove_all(gone, e) < 0)
		return e->code;
	if (rename(dir, gone) < 0)
		return err_errno(e, errno, "rename %s", dir);
	return fs_sync_dir(volumes_dir, e);
}

int volume_remove(const char *volumes_dir, const char *made_dir, const char *volume_id, bool *ret_found,
		  struct err *e)
{
	cleanup_free char *dir = xasprintf("%s/%s", volumes_dir, volume_id);
	cleanup_free char *gone = xasprintf("%s.removing", dir);
	cleanup_free char *note = xasprintf("%s/%s", made_dir, volume_id);

	bug_if(!id_is_valid(volume_id)); /* a part of a path */
	*ret_found = fs_exists(dir) || fs_exists(gone);
	if (!*ret_found && fs_exists(note))
		return err_set(e, E_UNAVAILABLE,
			       "%s is not there, and was: mount its disk, then remove it again", dir);
	if (fs_exists(dir) && set_apart(volumes_dir, dir, gone, volume_id, e) < 0)
		return e->code;
	if (fs_unlink(note, e) < 0)
		return e->code;
	return fs_remove_all(gone, e);
}
