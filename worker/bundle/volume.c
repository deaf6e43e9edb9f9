// SPDX-License-Identifier: Apache-2.0
/* The happy path is a folder that already carries the marker of this volume and service. A new volume gets
 * its marker first, durably, then its data folder; so data without a marker, or with another one, belongs to
 * somebody else and is never touched. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/bundle/bundle.h"

static bool folder_is_empty(const char *path)
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

int volume_prepare(const struct volume_spec *spec, char **ret_path, struct err *e)
{
	cleanup_free char *dir = xasprintf("%s/%s", spec->volumes_dir, spec->volume_id);
	cleanup_free char *data = xasprintf("%s/data", dir);
	cleanup_free char *marker = xasprintf("%s/volume", dir);
	cleanup_free char *want =
		xasprintf("volume=%s service=%s slot=%s\n", spec->volume_id, spec->service_id, spec->slot_id);
	bool is_new;

	if (fs_mkdir(spec->volumes_dir, 0711, e) < 0 || marker_check(dir, marker, want, &is_new, e) < 0)
		return e->code;
	if (is_new) {
		if (fs_mkdir(dir, 0711, e) < 0 || fs_write(marker, want, strlen(want), 0600, e) < 0)
			return e->code;
	}
	/* After the marker, so that a crash in between leaves an owned, empty volume. */
	if (is_new || !fs_exists(data)) {
		if (fs_mkdir(data, 0750, e) < 0)
			return e->code;
		if (chown(data, spec->uid, spec->gid) < 0)
			return err_errno(e, errno, "own %s", data);
	}
	*ret_path = steal(data);
	return 0;
}
