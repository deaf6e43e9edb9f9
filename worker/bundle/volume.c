// SPDX-License-Identifier: Apache-2.0
/* The happy path is a folder that already carries the marker of this volume and service. A new volume gets
 * its marker first, durably, then its data folder; so data without a marker, or with another one, belongs to
 * somebody else and is never touched. That a volume was made is noted elsewhere too, when it is whole: one that is
 * gone, or empty in another folder than it was, is on a disk that is not mounted, and is not made anew. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "worker/bundle/bundle.h"

#define OWNER_NAME "owner"
#define NOBODY 65534 /* whose all data was before owners were written down */

bool folder_is_empty(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	bool empty = true;

	if (!d)
		return errno == ENOENT;
	while (empty && (entry = readdir(d)))
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(d);
	return empty;
}

static int marker_check(const char *dir, const char *marker, const char *want, bool *ret_new, struct err *e)
{
	cleanup_free char *data = xasprintf("%s/data", dir);
	cleanup_free char *text = NULL;
	int rc = fs_read(marker, 4096, &text, NULL, e);

	*ret_new = false;
	if (rc == 0 && strcmp(text, want) == 0)
		return 0;
	if (rc == 0) {
		text[strcspn(text, "\n")] = '\0';
		return err_set(e, E_IN_USE, "%s holds other data (its marker says \"%s\"); move it away", dir,
			       text);
	}
	if (rc != -ENOENT)
		return rc;
	if (!folder_is_empty(data))
		return err_set(e, E_IN_USE,
			       "%s holds data without a marker, so it is somebody else's; move it away",
			       data);
	err_clear(e);
	*ret_new = true;
	return 0;
}

/* ---- the note that it was made: the number of its data folder ---- */

static char *note_path(const struct volume_spec *spec)
{
	return spec->made_dir ? xasprintf("%s/%s", spec->made_dir, spec->volume_id) : NULL;
}

static int note_load(const char *path, bool *ret_made, unsigned long long *ret_inode, struct err *e)
{
	cleanup_free char *text = NULL;
	int rc = path ? fs_read(path, 64, &text, NULL, e) : -ENOENT;

	*ret_made = rc == 0;
	*ret_inode = rc == 0 ? strtoull(text, NULL, 10) : 0;
	if (rc < 0 && rc != -ENOENT)
		return rc;
	err_clear(e);
	return 0;
}

int volume_is_away(const char *dir, const char *note, bool *ret_away, struct err *e)
{
	cleanup_free char *data = xasprintf("%s/data", dir);
	unsigned long long inode;
	bool was_made;
	struct stat st;

	if (note_load(note, &was_made, &inode, e) < 0)
		return e->code;
	*ret_away = was_made && (stat(data, &st) < 0 || (st.st_ino != inode && folder_is_empty(data)));
	return 0;
}

static int missing_check(const char *dir, const char *note, struct err *e)
{
	bool away;

	if (volume_is_away(dir, note, &away, e) < 0 || !away)
		return e->code;
	return err_set(
		e, E_UNAVAILABLE,
		"%s held this volume's data and does not now: mount its disk; or, to begin with an empty "
		"volume, remove %s",
		dir, note);
}

/* Only when it is whole: a crash before leaves a volume that is found, and noted then. */
static int note_store(const char *dir, const char *data, const char *note, struct err *e)
{
	cleanup_free char *text = NULL;
	unsigned long long inode;
	bool was_made;
	struct stat st;

	if (!note)
		return 0;
	if (stat(data, &st) < 0)
		return err_errno(e, errno, "look at %s", data);
	if (note_load(note, &was_made, &inode, e) < 0 || (was_made && inode == st.st_ino))
		return e->code;
	text = xasprintf("%llu\n", (unsigned long long)st.st_ino);
	if (fs_mkdir(dir, 0700, e) < 0)
		return e->code;
	return fs_write(note, text, strlen(text), 0600, e);
}

int volume_prepare(const struct volume_spec *spec, char **ret_path, struct err *e)
{
	cleanup_free char *dir = xasprintf("%s/%s", spec->volumes_dir, spec->volume_id);
	cleanup_free char *data = xasprintf("%s/data", dir);
	cleanup_free char *marker = xasprintf("%s/volume", dir);
	cleanup_free char *want =
		xasprintf("volume=%s service=%s slot=%s\n", spec->volume_id, spec->service_id, spec->slot_id);
	cleanup_free char *note = note_path(spec);
	bool is_new;

	bug_if(!id_is_valid(spec->volume_id)); /* a part of a path */
	if (missing_check(dir, note, e) < 0 || fs_mkdir(spec->volumes_dir, 0711, e) < 0 ||
	    marker_check(dir, marker, want, &is_new, e) < 0)
		return e->code;
	if (is_new) {
		cleanup_free char *owner = xasprintf("%s/" OWNER_NAME, dir);
		cleanup_free char *who = xasprintf("%u %u\n", spec->uid, spec->gid);

		if (fs_mkdir(dir, 0711, e) < 0 || fs_write(owner, who, strlen(who), 0600, e) < 0 ||
		    fs_write(marker, want, strlen(want), 0600, e) < 0)
			return e->code;
	}
	/* After the marker, so that a crash in between leaves an owned, empty volume. */
	if (is_new || !fs_exists(data)) {
		if (fs_mkdir(data, 0750, e) < 0)
			return e->code;
		if (lchown(data, spec->uid, spec->gid) < 0)
			return err_errno(e, errno, "own %s", data);
	}
	if (note_store(spec->made_dir, data, note, e) < 0)
		return e->code;
	*ret_path = steal(data);
	return 0;
}

bool volume_owner(const char *volumes_dir, const char *volume_id, uid_t *ret_uid, gid_t *ret_gid)
{
	cleanup_free char *owner = xasprintf("%s/%s/" OWNER_NAME, volumes_dir, volume_id);
	cleanup_free char *marker = xasprintf("%s/%s/volume", volumes_dir, volume_id);
	cleanup_free char *text = NULL;
	unsigned uid = NOBODY, gid = NOBODY;

	bug_if(!id_is_valid(volume_id));
	if (!fs_exists(marker))
		return false;
	if (fs_read(owner, 64, &text, NULL, NULL) == 0 && sscanf(text, "%u %u", &uid, &gid) != 2)
		return false;
	/* Data that root made does not make root of whoever comes next. */
	if (uid == 0)
		return false;
	*ret_uid = uid;
	*ret_gid = gid;
	return true;
}
