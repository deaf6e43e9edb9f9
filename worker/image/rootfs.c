// SPDX-License-Identifier: Apache-2.0
/* A task's root file system, and the folders of its own.
 *
 * The happy path for image `host` is a skeleton of empty folders and links on which crun binds the host's
 * programs read-only, and an /etc of two layers: this task's files over copies of what etc.c allows. For
 * `dir:` it is an overlay of the same files over the image's folder. It is an allow-list: what is not named
 * here does not exist in the task. What can fail is a missing image folder, one through which our own state
 * could be read, or a full file system.
 *
 *   layer/etc/hosts -> gswarm/hosts    a link into names/, which is bound on /etc/gswarm: a file that is
 *                                      bound itself could only be truncated and written again, and a task
 *                                      that looked in between would find no names; in a bound folder a new
 *                                      file takes its place by a rename */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "worker/image/image.h"
#include "base/foreign.h"

#define TASK_TMPFS "nosuid,nodev,mode=1777,size=25%,nr_inodes=200k"
#define PASSWD_MAX (1u << 20)

/* Folders of the skeleton; those with 1777 are tmpfs in the task. */
static const char *const folders[] = {"usr",     "opt",     "etc", "proc", "sys",  "dev",  "var", "var/lib",
				      "var/log", "var/tmp", "run", "tmp",  "home", "root", "srv", "mnt"};

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether the folder `of` is `path` or one of those above it; by what they are, not what they are called: a bind
 * of / is / as well. */
static bool is_above(const struct stat *of, const char *path)
{
	cleanup_free char *real = realpath(path, NULL);
	struct stat st;

	while (real && *real) {
		char *slash = strrchr(real, '/');

		if (stat(real, &st) == 0 && is_same(&st, of))
			return true;
		if (slash == real && real[1]) {
			real[1] = '\0';
			continue;
		}
		if (slash == real)
			break;
		*slash = '\0';
	}
	return false;
}

/* Whether the open folder is `of` or lies in it. Upwards by "..": its path is somebody else's to change. */
static bool lies_in(int folder, const struct stat *of)
{
	int fd = openat(folder, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), up;
	struct stat st, above;
	bool found = false;

	while (fd >= 0 && fstat(fd, &st) == 0) {
		found = is_same(&st, of);
		up = found ? -1 : openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = up;
		if (fd >= 0 && fstat(fd, &above) == 0 && is_same(&st, &above))
			break; /* the root is above itself */
	}
	if (fd >= 0)
		close(fd);
	return found;
}

/* Keys, secrets and other tasks' data are there. */
static bool shows(int image, const struct stat *st, const char *ours)
{
	struct stat own;

	return ours && stat(ours, &own) == 0 && (is_above(st, ours) || lies_in(image, &own));
}

/* In whose folder a file lies, or NULL with errno. heap */
static char *folder_of(const char *path)
{
	char *real = realpath(path, NULL), *slash = real ? strrchr(real, '/') : NULL;

	if (slash)
		slash[slash == real] = '\0';
	return real;
}

int bind_source_check(const char *source, const char *state_dir, const char *base_run, struct err *e)
{
	cleanup_free char *folder = NULL;
	cleanup_close int fd = -1;
	struct stat st;

	if (stat(source, &st) < 0)
		return err_errno(e, errno, "%s", source);
	/* A file is where its folder is; what only lies above it counts for folders alone. */
	folder = S_ISDIR(st.st_mode) ? xstrdup(source) : folder_of(source);
	fd = folder ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0)
		return err_errno(e, errno, "%s", source);
	for (size_t i = 0; i < 2; i++) {
		const char *ours = i == 0 ? state_dir : base_run;

		if (shows(fd, &st, ours))
			return err_set(
				e, E_INVALID,
				"%s shows %s (keys, secrets, data of other tasks), which no task may see",
				source, ours);
	}
	return 0;
}

int rootfs_image_root(const char *image, const char *state_dir, const char *base_run, const char **ret_root,
		      struct image_id *ret_id, struct err *e)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (strcmp(image, "host") == 0) {
		*ret_root = "";
		if (ret_id)
			*ret_id = (struct image_id){0};
		return 0;
	}
	if (strncmp(image, "dir:/", 5) != 0)
		return err_set(e, E_INVALID, "image %s: not known (use host or dir:/path)", image);
	fd = open(image + 4, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, errno, "image %s", image);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, E_INVALID, "image %s: is not a folder", image);
	if (shows(fd, &st, state_dir) || shows(fd, &st, base_run))
		return err_set(e, E_INVALID,
			       "image %s: %s (keys, secrets, data of other tasks) must not be in it", image,
			       shows(fd, &st, state_dir) ? state_dir : base_run);
	*ret_root = image + 4;
	if (ret_id)
		*ret_id = (struct image_id){st.st_dev, st.st_ino};
	return 0;
}

static int file_write(const char *dir, const char *name, const char *text, size_t len, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	cleanup_free char *tmp = xasprintf("%s/.%s.new", dir, name);
	cleanup_close int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);

	/* Not durable on purpose: it is made anew at every preparation. */
	errno = 0;
	if (fd < 0 || fchmod(fd, 0644) < 0 || write(fd, text, len) != (ssize_t)len || rename(tmp, path) < 0) {
		int saved = errno ? errno : ENOSPC;

		unlink(tmp);
		return err_errno(e, saved, "write %s", path);
	}
	return 0;
}

int rootfs_hosts_write(const char *run_dir, const char *hostname, const char *lines, struct err *e)
{
	cleanup_free char *names = xasprintf("%s/names", run_dir);
	bool alone = !lines || !*lines;
	cleanup_free char *text = xasprintf("127.0.0.1 localhost\n::1 localhost ip6-localhost\n%s%s%s%s",
					    alone ? "127.0.1.1 " : "", alone ? hostname : "",
					    alone ? "\n" : "", lines ? lines : "");

	return file_write(names, "hosts", text, strlen(text), e);
}

/* The stub resolver of systemd listens on the host's loopback, which a task does not have. */
static char *resolv_conf(void)
{
	char *text = NULL;

	if (fs_read("/etc/resolv.conf", 64 << 10, &text, NULL, NULL) == 0 && !strstr(text, "127.0.0.53"))
		return text;
	free(text);
	text = NULL;
	if (fs_read("/run/systemd/resolve/resolv.conf", 64 << 10, &text, NULL, NULL) == 0)
		return text;
	return xstrdup("");
}

/* A user of ours has no line in the image's file; programs that ask for their own name need one. */
static int passwd_layer(const char *etc, const char *root, const struct user *u, struct err *e)
{
	static const char *const files[] = {"passwd", "group"};

	for (size_t i = 0; u->is_own && i < array_size(files); i++) {
		cleanup_free char *name = xasprintf("etc/%s", files[i]);
		cleanup_free char *text = NULL, *line = NULL, *whole = NULL;
		size_t len;

		if (foreign_read_image(root, name, PASSWD_MAX, &text, &len, NULL) < 0)
			continue; /* none there, or no file: then there is nothing to add to */
		line = i ? xasprintf("gs-task:x:%u:\n", u->gid)
			 : xasprintf("gs-task:x:%u:%u:gswarm task:/:/usr/sbin/nologin\n", u->uid, u->gid);
		whole = xasprintf("%s%s%s", text, len && text[len - 1] != '\n' ? "\n" : "", line);
		if (file_write(etc, files[i], whole, strlen(whole), e) < 0)
			return e->code;
	}
	return 0;
}

/* The task's own files, over everything else. */
static int own_layer(struct bundle *b, const struct rootfs_spec *spec, const char *root, struct err *e)
{
	cleanup_free char *names = xasprintf("%s/names", spec->run_dir);
	cleanup_free char *etc = xasprintf("%s/layer/etc", spec->run_dir);
	cleanup_free char *at = xasprintf("%s/gswarm", etc), *hosts = xasprintf("%s/hosts", etc);
	cleanup_free char *name = xasprintf("%s\n", spec->hostname);
	cleanup_free char *resolv = resolv_conf();

	if (fs_mkdir(names, 0755, e) < 0 || fs_mkdir(at, 0755, e) < 0 ||
	    file_write(etc, "hostname", name, strlen(name), e) < 0 ||
	    file_write(etc, "resolv.conf", resolv, strlen(resolv), e) < 0 ||
	    passwd_layer(etc, root, &b->user, e) < 0)
		return e->code;
	if (symlink("gswarm/hosts", hosts) < 0 && errno != EEXIST)
		return err_errno(e, errno, "link %s", hosts);
	return 0;
}

/* /bin, /sbin, /lib*: links on a merged-/usr host, else folders that are bound. */
static int top_entry(struct bundle *b, const char *name, struct err *e)
{
	cleanup_free char *host = xasprintf("/%s", name);
	cleanup_free char *path = xasprintf("%s/%s", b->rootfs, name);
	char link[256];
	ssize_t n = readlink(host, link, sizeof(link) - 1);

	if (n > 0) {
		link[n] = '\0';
		if (symlink(link, path) < 0 && errno != EEXIST)
			return err_errno(e, errno, "link %s", path);
		return 0;
	}
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "make %s", path);
	bundle_mount_add(b, host, host, "bind", BIND_RO);
	return 0;
}

static int top_entries(struct bundle *b, struct err *e)
{
	DIR *d = opendir("/");
	struct dirent *entry;
	int rc = 0;

	if (!d)
		return err_errno(e, errno, "list /");
	while (rc == 0 && (entry = readdir(d)))
		if (strcmp(entry->d_name, "bin") == 0 || strcmp(entry->d_name, "sbin") == 0 ||
		    (strncmp(entry->d_name, "lib", 3) == 0 && strlen(entry->d_name) <= 6))
			rc = top_entry(b, entry->d_name, e);
	closedir(d);
	return rc;
}

static int host_image(struct bundle *b, const struct rootfs_spec *spec, struct err *e)
{
	cleanup_free char *shared = NULL, *etc_options = NULL;

	if (fs_mkdir(b->rootfs, 0755, e) < 0)
		return e->code;
	for (size_t i = 0; i < array_size(folders); i++) {
		cleanup_free char *path = xasprintf("%s/%s", b->rootfs, folders[i]);

		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_errno(e, errno, "make %s", path);
	}
	if (own_layer(b, spec, "", e) < 0 || etc_host_layer("/etc", spec->etc_dir, &shared, e) < 0 ||
	    top_entries(b, e) < 0)
		return e->code;
	/* nosuid also makes the kernel ignore file capabilities, which would make exec of such a file fail. */
	bundle_mount_add(b, "/usr", "/usr", "bind", BIND_RO);
	if (fs_exists("/opt"))
		bundle_mount_add(b, "/opt", "/opt", "bind", BIND_RO);
	etc_options = xasprintf("ro,nosuid,nodev,lowerdir=%s/layer/etc:%s", spec->run_dir, shared);
	bundle_mount_add(b, "overlay", "/etc", "overlay", etc_options);
	/* Writes into the skeleton would use the host's memory unseen by the task's limit. */
	b->readonly = true;
	return 0;
}

static int dir_image(struct bundle *b, const struct rootfs_spec *spec, struct err *e)
{
	const char *image = spec->image + 4;

	bug_if(!b->image.ino);
	if (strpbrk(image, ",:\\"))
		return err_set(e, E_INVALID, "image %s: the path must not hold , : or \\", spec->image);
	b->lower = xasprintf("%s/layer:%s", spec->run_dir, image);
	b->upper = xasprintf("%s/root/upper", spec->state_dir);
	b->work = xasprintf("%s/root/work", spec->state_dir);
	if (fs_mkdir(b->rootfs, 0755, e) < 0 || fs_mkdir(b->upper, 0755, e) < 0 ||
	    fs_mkdir(b->work, 0700, e) < 0 || own_layer(b, spec, image, e) < 0)
		return e->code;
	b->readonly = spec->read_only;
	return 0;
}

/* ---- the task's run folder ---- */

static bool is_mounted(const char *path, const char *parent)
{
	struct stat a, b;

	return stat(path, &a) == 0 && stat(parent, &b) == 0 && a.st_dev != b.st_dev;
}

/* A tmpfs of its own: what a task fills is its own and not the host's /run, without which no exit could be told
 * and no program of the host could write a pid file. One that is there stays: a task that an earlier worker
 * started has its sockets in it. */
static int run_folder(const char *run_dir, const struct user *u, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/run", run_dir);

	if (fs_mkdir(path, 0711, e) < 0)
		return e->code;
	if (!is_mounted(path, run_dir) && rmdir(path) == 0) { /* else an older worker's, in use */
		if (mkdir(path, 0711) < 0 ||
		    mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=711,size=16m,nr_inodes=4k") < 0)
			return err_errno(e, errno, "mount %s", path);
	}
	if (chmod(path, 0711) < 0 || chown(path, u->uid, u->gid) < 0)
		return err_errno(e, errno, "own %s", path);
	return 0;
}

void rootfs_release(const char *run_dir)
{
	cleanup_free char *path = xasprintf("%s/run", run_dir);

	umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
}

int rootfs_prepare(struct bundle *b, const struct rootfs_spec *spec, struct err *e)
{
	cleanup_free char *names = xasprintf("%s/names", spec->run_dir);
	cleanup_free char *run = xasprintf("%s/run", spec->run_dir);
	int rc;

	bug_if(b->rootfs || b->n_mounts); /* a bundle is filled once */
	bug_if(b->user.is_own && b->user.uid == 0);
	b->rootfs = xasprintf("%s/rootfs", spec->run_dir);
	rc = strcmp(spec->image, "host") == 0 ? host_image(b, spec, e) : dir_image(b, spec, e);
	if (rc < 0 || run_folder(spec->run_dir, &b->user, e) < 0)
		return e->code;
	bundle_mount_add(b, "tmpfs", "/run", "tmpfs", "nosuid,nodev,mode=755,size=64m,nr_inodes=20k");
	bundle_mount_add(b, "tmpfs", "/tmp", "tmpfs", TASK_TMPFS);
	if (!b->lower)
		bundle_mount_add(b, "tmpfs", "/var/tmp", "tmpfs", TASK_TMPFS);
	bundle_mount_add(b, run, "/run/task", "bind", "bind,nosuid,nodev");
	bundle_mount_add(b, names, "/etc/gswarm", "bind", "bind,ro,nosuid,nodev,noexec");
	return 0;
}
