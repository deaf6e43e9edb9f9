// SPDX-License-Identifier: Apache-2.0
/* The mounts that a spec asks for.
 *
 * The happy path turns each into one line of the bundle. The runtime makes a target that is missing; where the
 * target lies in a folder of the host that is bound into the task (/usr, /opt), it would make it on the host
 * itself, before it makes the bind read-only. So a missing target there is made in a layer of the task's own,
 * laid over the host's folder, and a missing one inside another bind is refused.
 * What can fail: a target that is no plain path or hides what a task stands on, a source that is not there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "proto/schema/names.h"
#include "worker/image/image.h"

#define TMPFS "nosuid,nodev,mode=1777"

const char *mounts_volume_id(const Gs__Task *task, const char *target)
{
	for (size_t i = 0; i < task->n_volumes; i++)
		if (strcmp(task->volumes[i]->target, target) == 0)
			return task->volumes[i]->volume_id;
	return NULL;
}

/* path is below, or: dir itself */
static bool is_within(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '/' || !path[n]);
}

/* Absolute, each part a name. The runtime would resolve "..", and we would have judged another path. */
static bool is_plain(const char *path)
{
	if (*path != '/' || !path[1] || strlen(path) >= 4096)
		return false;
	while (*path) {
		size_t n = strcspn(++path, "/");

		if (!n || (n == 1 && path[0] == '.') || (n == 2 && memcmp(path, "..", 2) == 0))
			return false;
		path += n;
	}
	return true;
}

static int target_check(const char *target, struct err *e)
{
	static const char *const kept[] = {"/proc", "/sys", "/run/task", "/etc/gswarm"};

	if (!is_plain(target))
		return err_set(e, E_INVALID, "mount target %s: must be an absolute path without . and ..",
			       target);
	if (strcmp(target, "/dev") == 0 || strcmp(target, "/etc") == 0)
		return err_set(e, E_INVALID, "mount target %s: mount something below it", target);
	for (size_t i = 0; i < array_size(kept); i++)
		if (is_within(target, kept[i]))
			return err_set(e, E_INVALID, "mount target %s: %s is the task's own", target,
				       kept[i]);
	return 0;
}

/* ---- targets of image host ---- */

/* On a merged host /bin, /lib ... are links: the path behind one, else a copy. */
static char *through_top_link(const struct bundle *b, const char *target)
{
	size_t n = strcspn(target + 1, "/");
	cleanup_free char *at = xasprintf("%s/%.*s", b->rootfs, (int)n, target + 1);
	char link[256];
	ssize_t len = readlink(at, link, sizeof(link) - 1);

	if (len <= 0)
		return xstrdup(target);
	link[len] = '\0';
	return xasprintf("/%s%s", link + (*link == '/'), target + 1 + n);
}

/* 1: there, of the right kind. 0: missing. The host's links on the way are refused: what we would make under
 * such a name would hide the link in the task. */
static int host_has(const char *target, bool is_folder, struct err *e)
{
	cleanup_free char *path = xstrdup(target);
	struct stat st;

	for (char *slash = strchr(path + 1, '/');; slash = slash ? strchr(slash + 1, '/') : NULL) {
		if (slash)
			*slash = '\0';
		if (lstat(path, &st) < 0)
			return errno == ENOENT ? 0 : err_errno(e, errno, "mount target %s", target);
		if (S_ISLNK(st.st_mode))
			return err_set(e, E_INVALID,
				       "mount target %s: %s is a link on this host; name what it points to",
				       target, path);
		if (!slash)
			break;
		if (!S_ISDIR(st.st_mode))
			return err_set(e, E_INVALID, "mount target %s: %s is no folder on this host", target,
				       path);
		*slash = '/';
	}
	if (S_ISDIR(st.st_mode) != is_folder)
		return err_set(e, E_INVALID, "mount target %s: is %s on this host, the source is not", target,
			       is_folder ? "a file" : "a folder");
	return 1;
}

static int make_in_layer(const char *run_dir, const char *target, bool is_folder, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/layer%s", run_dir, target);
	cleanup_free char *parent = xstrdup(path);
	cleanup_close int fd = -1;

	*strrchr(parent, '/') = '\0';
	if (fs_mkdir(is_folder ? path : parent, 0755, e) < 0)
		return e->code;
	if (!is_folder)
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	return !is_folder && fd < 0 ? err_errno(e, errno, "make %s", path) : 0;
}

/* The bind of this folder of the host becomes an overlay of our layer over it. */
static void lay_over(struct bundle *b, const char *run_dir, struct bundle_mount *m)
{
	char *options;

	bug_if(strcmp(m->type, "bind") != 0 || strcmp(m->source, m->target) != 0);
	options = xasprintf("ro,nosuid,nodev,lowerdir=%s/layer%s:%s", run_dir, m->target, m->target);

	free(m->options);
	m->options = options;
	str_replace(&m->type, "overlay");
	str_replace(&m->source, "overlay");
}

static int host_target(struct bundle *b, const struct mounts_spec *s, const char *target, bool is_folder,
		       struct err *e)
{
	cleanup_free char *real = through_top_link(b, target);
	int rc;

	if (is_within(real, "/etc"))
		return make_in_layer(s->run_dir, real, is_folder, e);
	for (size_t i = 0; i < b->n_mounts; i++) {
		struct bundle_mount *m = &b->mounts[i];
		bool is_bind = strcmp(m->type, "bind") == 0 && strcmp(m->source, m->target) == 0;
		bool is_layered = strcmp(m->type, "overlay") == 0 && strcmp(m->target, "/etc") != 0;

		if (!(is_bind || is_layered) || !is_within(real, m->target) || strcmp(real, m->target) == 0)
			continue;
		rc = host_has(real, is_folder, e);
		if (rc)
			return rc < 0 ? rc : 0;
		if (is_bind)
			lay_over(b, s->run_dir, m);
		return make_in_layer(s->run_dir, real, is_folder, e);
	}
	return 0; /* in the skeleton, which is this task's own */
}

/* A target inside a bind of this spec lies in the source's folder: there the runtime must not write. */
static int in_other_bind(const struct mounts_spec *s, const char *target, struct err *e)
{
	const Gs__TaskSpec *spec = s->task->spec;

	for (size_t i = 0; i < spec->n_mounts; i++) {
		const Gs__Mount *m = spec->mounts[i];
		cleanup_free char *path = NULL;

		if (m->type != MOUNT_BIND || !is_within(target, m->target) || strcmp(target, m->target) == 0)
			continue;
		path = xasprintf("%s%s", m->source, target + strlen(m->target));
		if (!fs_exists(path))
			return err_set(e, E_INVALID, "mount target %s: make %s on the host first", target,
				       path);
	}
	return 0;
}

/* ---- the three kinds ---- */

static int add_volume(struct bundle *b, const struct mounts_spec *s, const Gs__Mount *m, struct err *e)
{
	struct volume_spec spec = {
		.volumes_dir = s->volumes_dir,
		.made_dir = s->task->topology == TOPO_GALERA ? NULL : s->made_dir,
		.volume_id = mounts_volume_id(s->task, m->target),
		.service_id = s->task->service_id,
		.slot_id = s->task->slot_id,
		.uid = b->user.uid,
		.gid = b->user.gid,
	};
	char *path;

	if (!spec.volume_id || !id_is_valid(spec.volume_id))
		return err_set(e, E_INVALID, "mount %s: no volume was assigned to it", m->target);
	if (volume_prepare(&spec, &path, e) < 0)
		return err_wrap(e, "mount %s", m->target);
	b->volumes = xrealloc(b->volumes, (b->n_volumes + 1) * sizeof(*b->volumes));
	b->volumes[b->n_volumes++] = (struct bundle_volume){.target = xstrdup(m->target), .path = path};
	bundle_mount_add(b, path, m->target, "bind", m->readonly ? BIND_RO : BIND_RW);
	return 0;
}

static void add_tmpfs(struct bundle *b, const Gs__Mount *m)
{
	cleanup_free char *options =
		m->tmpfs_bytes ? xasprintf(TMPFS ",size=%llu", (unsigned long long)m->tmpfs_bytes)
			       : xstrdup(TMPFS ",size=25%,nr_inodes=200k");

	bundle_mount_add(b, "tmpfs", m->target, "tmpfs", options);
}

/* Nothing is mounted inside a file, and crun has no recursive options for one. */
static const char *bind_options(bool is_folder, bool readonly)
{
	if (is_folder)
		return readonly ? BIND_RO : BIND_RW;
	return readonly ? "bind,ro,nosuid,nodev" : "bind,nosuid,nodev";
}

static int add_one(struct bundle *b, const struct mounts_spec *s, const Gs__Mount *m, struct err *e)
{
	struct stat st = {.st_mode = S_IFDIR};

	if (target_check(m->target, e) < 0)
		return e->code;
	if (m->type == MOUNT_BIND && stat(m->source, &st) < 0)
		return err_set(e, E_INVALID, "mount %s: %s is not on this host", m->target, m->source);
	if (m->type == MOUNT_BIND && bind_source_check(m->source, s->state_dir, s->base_run, e) < 0)
		return err_wrap(e, "mount %s", m->target);
	if (in_other_bind(s, m->target, e) < 0)
		return e->code;
	if (!b->lower && host_target(b, s, m->target, S_ISDIR(st.st_mode), e) < 0)
		return e->code;
	if (m->type == MOUNT_VOLUME)
		return add_volume(b, s, m, e);
	if (m->type == MOUNT_BIND)
		bundle_mount_add(b, m->source, m->target, "bind",
				 bind_options(S_ISDIR(st.st_mode), m->readonly));
	else
		add_tmpfs(b, m);
	return 0;
}

int mounts_prepare(struct bundle *b, const struct mounts_spec *spec, struct err *e)
{
	bug_if(!b->rootfs || b->n_volumes);
	for (size_t i = 0; i < spec->task->spec->n_mounts; i++)
		if (add_one(b, spec, spec->task->spec->mounts[i], e) < 0)
			return e->code;
	return 0;
}
