// SPDX-License-Identifier: Apache-2.0
/* Deleting a volume's data for good.
 *
 * The happy path is: its folder, which carries the marker of this volume and has its data, is renamed; then nothing
 * opens it by its id any more, whatever of it is left. The note that it was made goes, then the tree. A crash in
 * between is made good by doing it again. What can fail: a folder that is somebody else's, a mount in it, a disk that
 * is not there. Nothing is said to be gone that was not seen here: a person who knows that the data is lost says so
 * with a folder of the name that a begun removal has. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "worker/bundle/bundle.h"

/* What cannot be looked at (EIO, ESTALE) is not missing. */
static int look(const char *path, bool *ret_there, struct err *e)
{
	struct stat st;

	*ret_there = lstat(path, &st) == 0;
	return *ret_there || errno == ENOENT ? 0 : err_errno(e, errno, "look at %s", path);
}

static int not_there(const char *dir, struct err *e)
{
	return err_set(e, E_UNAVAILABLE,
		       "no data at %s: mount its disk; if there is none (lost, or never made), 'mkdir "
		       "%s.removing' there, then remove it again",
		       dir, dir);
}

/* Without a marker it is empty, or somebody else's: as volume_prepare has it. */
static int marker_is_ours(const char *dir, const char *volume_id, bool *ret_empty, struct err *e)
{
	cleanup_free char *marker = xasprintf("%s/volume", dir);
	cleanup_free char *data = xasprintf("%s/data", dir);
	cleanup_free char *want = xasprintf("volume=%s ", volume_id);
	cleanup_free char *text = NULL;
	bool has_data;
	int rc = fs_read(marker, 4096, &text, NULL, e);

	*ret_empty = false;
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc == 0 && strncmp(text, want, strlen(want)) == 0)
		return 0;
	err_clear(e);
	if (look(data, &has_data, e) < 0)
		return e->code;
	*ret_empty = rc == -ENOENT && !has_data;
	if (*ret_empty)
		return 0;
	return err_set(e, E_IN_USE, "%s holds other data than this volume's: look at it, it is left alone",
		       dir);
}

/* A plain volume has its note; a Galera member's state lies beside its data, and says that there was some. */
static int data_is_here(const char *dir, const char *note, struct err *e)
{
	cleanup_free char *member = xasprintf("%s/gswarm.json", dir);
	cleanup_free char *data = xasprintf("%s/data", dir);
	bool has_data, was_member, away;

	if (look(data, &has_data, e) < 0 || look(member, &was_member, e) < 0 ||
	    volume_is_away(dir, note, &away, e) < 0)
		return e->code;
	return away || (was_member && folder_is_empty(data)) ? not_there(dir, e) : 0;
}

/* What is on a disk of its own is not deleted half. */
static int not_mounted(const char *path, dev_t around, const char *gone, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(e, errno, "look at %s", path);
	if (st.st_dev == around)
		return 0;
	return err_set(e, E_IN_USE,
		       "%s is a mount: unmount it and 'mkdir %s' there, then remove it again (what is on "
		       "that disk stays)",
		       path, gone);
}

static int set_apart(const char *volumes_dir, const char *dir, const char *gone, struct err *e)
{
	cleanup_free char *data = xasprintf("%s/data", dir);
	struct stat st;

	if (stat(volumes_dir, &st) < 0)
		return err_errno(e, errno, "look at %s", volumes_dir);
	if (not_mounted(dir, st.st_dev, gone, e) < 0 || not_mounted(data, st.st_dev, gone, e) < 0 ||
	    fs_remove_all(gone, e) < 0)
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
	bool is_there, has_begun, is_empty = true;

	bug_if(!id_is_valid(volume_id)); /* a part of a path */
	*ret_found = false;
	if (look(dir, &is_there, e) < 0 || look(gone, &has_begun, e) < 0)
		return e->code;
	*ret_found = is_there || !folder_is_empty(gone);
	if (is_there && marker_is_ours(dir, volume_id, &is_empty, e) < 0)
		return e->code;
	if (!has_begun && is_empty)
		return not_there(dir, e);
	if (!has_begun && data_is_here(dir, note, e) < 0)
		return e->code;
	if (is_there && set_apart(volumes_dir, dir, gone, e) < 0)
		return e->code;
	if (fs_unlink(note, e) < 0)
		return e->code;
	return fs_remove_all(gone, e);
}
