// SPDX-License-Identifier: Apache-2.0
/* The happy path is: unshare on the calling thread, open the sockets that stay there, mark `lo`, bind-mount
 * the namespace under its name, go back. What can fail is: the name belongs to somebody else (an error, it
 * stays untouched), and a crash in between: the mark is written before the mount, so whatever is mounted
 * without a mark is not ours; the bare file of a half-made namespace is known by its odd mode. A thread that
 * cannot return to the host's namespace aborts the process, because the next job of the pool would change the
 * wrong host. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "overlay/internal.h"
#include "overlay/kernel/links.h"

#define NSFS_MAGIC 0x6e736673
#define HALF_MADE_MODE (S_ISVTX | 0400) /* `ip netns` makes its files with mode 0 */

void ns_path(const struct overlay *o, const char *name, char ret_path[512])
{
	snprintf(ret_path, 512, "%s/%s", o->netns_dir, name);
}

int ns_enter(int fd, struct err *e)
{
	return setns(fd, CLONE_NEWNET) == 0 ? 0 : err_errno(e, errno, "enter network namespace");
}

void ns_leave(struct overlay *o)
{
	bug_if(o->host.fd < 0);
	if (setns(o->host.fd, CLONE_NEWNET) != 0)
		abort();
}

static void ns_identify(struct ns *ns)
{
	struct stat st;

	if (fstat(ns->fd, &st) == 0) {
		ns->dev = st.st_dev;
		ns->ino = st.st_ino;
	}
}

static bool is_network_ns(const char *name)
{
	return strncmp(name, "gsn-", 4) == 0;
}

/* The thread is inside the namespace. */
static int ns_open_sockets(struct overlay *o, struct ns *ns, struct err *e)
{
	enum event_scope scope = EVENTS_TASK;
	int rc = nl_conn_open(&ns->nl, NETLINK_ROUTE, e);

	if (rc < 0)
		return rc;
	if (ns == &o->host)
		scope = EVENTS_HOST;
	else if (is_network_ns(ns->name))
		scope = EVENTS_NETWORK;
	ns->events = events_join(o, ns->name, scope, ns->nl.port);
	ns_identify(ns);
	return 0;
}

static void ns_close(struct overlay *o, struct ns *ns)
{
	if (ns->events)
		events_leave(o, ns->events);
	ns->events = NULL;
	nl_conn_close(&ns->nl);
	if (ns->fd >= 0)
		close(ns->fd);
	ns->fd = -1;
}

int ns_open_host(struct overlay *o, struct err *e)
{
	o->host.fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (o->host.fd < 0)
		return err_errno(e, errno, "open the host's network namespace");
	return ns_open_sockets(o, &o->host, e);
}

void ns_drop(struct overlay *o, struct ns *ns)
{
	bug_if(ns == &o->host || ns->fd < 0);
	HASH_DEL(o->namespaces, ns);
	ns_close(o, ns);
	free(ns);
}

void ns_close_all(struct overlay *o)
{
	struct ns *ns, *tmp;

	HASH_ITER (hh, o->namespaces, ns, tmp)
		ns_drop(o, ns);
	ns_close(o, &o->host);
}

static struct ns *ns_cached(struct overlay *o, const char *name)
{
	struct ns *ns;

	HASH_FIND_STR(o->namespaces, name, ns);
	return ns;
}

static struct ns *ns_new(const char *name)
{
	struct ns *ns = xcalloc(1, sizeof(*ns));

	snprintf(ns->name, sizeof(ns->name), "%s", name);
	ns->fd = -1;
	return ns;
}

static bool is_nsfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

static int ns_open(struct overlay *o, const char *name, const char *path, struct ns **ret, struct err *e)
{
	struct ns *ns = ns_new(name);
	int rc;

	bug_if(ns_cached(o, name));
	ns->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (ns->fd < 0) {
		rc = errno == ENOENT ? err_set(e, E_NOT_FOUND, "no namespace %s", name)
				     : err_errno(e, errno, "open %s", path);
	} else if (!is_nsfs(ns->fd)) {
		rc = err_set(e, E_NOT_FOUND, "%s is no namespace", path);
	} else {
		rc = ns_enter(ns->fd, e);
		if (rc == 0) {
			rc = ns_open_sockets(o, ns, e);
			ns_leave(o);
		}
	}
	if (rc < 0) {
		ns_close(o, ns);
		free(ns);
		return rc;
	}
	HASH_ADD_STR(o->namespaces, name, ns);
	*ret = ns;
	return 0;
}

int ns_mark(struct overlay *o, struct ns *ns, char ret_mark[ALIAS_MAX], struct err *e)
{
	struct link lo;
	int rc = link_get(&ns->nl, "lo", &lo, e);

	if (rc < 0)
		return err_wrap(e, "namespace %s", ns->name);
	snprintf(ret_mark, ALIAS_MAX, "%s", strncmp(lo.alias, "gswarm:", 7) == 0 ? lo.alias : "");
	return 0;
}

/* Unmounts must reach the private mount namespaces of tasks, or these would keep a removed namespace alive. */
static int prepare_dir(struct overlay *o, struct err *e)
{
	const char *dir = o->netns_dir;
	int rc = o->netns_dir_ready ? 0 : fs_mkdir(dir, 0755, e);

	if (rc < 0 || o->netns_dir_ready)
		return rc;
	if (mount("", dir, "none", MS_SHARED | MS_REC, NULL) != 0) {
		if (errno != EINVAL)
			return err_errno(e, errno, "make %s shared", dir);
		if (mount(dir, dir, "none", MS_BIND | MS_REC, NULL) != 0 ||
		    mount("", dir, "none", MS_SHARED | MS_REC, NULL) != 0)
			return err_errno(e, errno, "make %s a shared mount", dir);
	}
	o->netns_dir_ready = true;
	return 0;
}

static bool is_half_made(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0 &&
	       (st.st_mode & 07777) == HALF_MADE_MODE;
}

/* 0: the empty file is there, ready to be mounted on. 1: something is mounted already. */
static int make_file(const char *path, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, HALF_MADE_MODE);

	if (fd >= 0)
		return fchmod(fd, HALF_MADE_MODE) == 0 ? 0 : err_errno(e, errno, "chmod %s", path);
	if (errno != EEXIST)
		return err_errno(e, errno, "create %s", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "open %s", path);
	if (is_nsfs(fd))
		return 1;
	return is_half_made(path) ? 0 : err_set(e, E_EXISTS, "%s exists and is not ours: remove it", path);
}

/* The namespace lives on (our sockets and its processes hold it) while its name is free: give it back, when
 * it is one of ours. */
static bool mount_again(struct overlay *o, struct ns *ns, const char *path)
{
	char from[64], mark[ALIAS_MAX];

	bug_if(ns->fd < 0);
	snprintf(from, sizeof(from), "/proc/thread-self/fd/%d", ns->fd);
	return ns_mark(o, ns, mark, NULL) == 0 && *mark && make_file(path, NULL) == 0 &&
	       mount(from, path, "none", MS_BIND, NULL) == 0;
}

static bool has_its_name(const struct ns *ns, const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_ino == ns->ino && st.st_dev == ns->dev;
}

int ns_get(struct overlay *o, const char *name, struct ns **ret, struct err *e)
{
	struct ns *ns = ns_cached(o, name);
	char path[512];

	ns_path(o, name, path);
	if (ns && !has_its_name(ns, path))
		o->restored += mount_again(o, ns, path);
	if (ns && has_its_name(ns, path)) {
		*ret = ns;
		return 0;
	}
	if (ns) { /* another one took the name */
		if (is_network_ns(name))
			network_dismantle(ns);
		ns_drop(o, ns);
	}
	return ns_open(o, name, path, ret, e);
}

/* The thread is in the new namespace already. */
static int mark_and_mount(struct overlay *o, struct ns *ns, const char *mark, const char *path, struct err *e)
{
	struct nl_batch b = {0};
	int rc;

	ns->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (ns->fd < 0)
		return err_errno(e, errno, "open new namespace");
	rc = ns_open_sockets(o, ns, e);
	if (rc < 0)
		return rc;
	nl_put_text(link_change(&b, 0, "lo", true), IFLA_IFALIAS, mark);
	rc = nl_batch_run(&ns->nl, &b, e);
	if (rc < 0)
		return err_wrap(e, "set up lo");
	if (mount("/proc/thread-self/ns/net", path, "none", MS_BIND, NULL) != 0)
		return err_errno(e, errno, "mount on %s", path);
	return 0;
}

static int make_ns(struct overlay *o, const char *name, const char *mark, const char *path, struct err *e)
{
	struct ns *ns = ns_cached(o, name);
	int rc;

	if (ns)
		ns_drop(o, ns);
	ns = ns_new(name);
	if (unshare(CLONE_NEWNET) == 0) {
		rc = mark_and_mount(o, ns, mark, path, e);
		ns_leave(o);
	} else {
		rc = err_errno(e, errno, "new network namespace");
	}
	if (rc < 0) {
		ns_close(o, ns);
		free(ns);
		unlink(path);
		return rc;
	}
	HASH_ADD_STR(o->namespaces, name, ns);
	return 0;
}

/* The name is free, but a process lives in the namespace that had it. Only ours is taken back. */
static int restore_of_process(struct overlay *o, const char *name, const char *mark, pid_t pid,
			      const char *path, struct err *e)
{
	char from[64], found[ALIAS_MAX];
	struct ns *ns;

	snprintf(from, sizeof(from), "/proc/%d/ns/net", (int)pid);
	if (mount(from, path, "none", MS_BIND, NULL) != 0)
		return err_errno(e, errno, "mount the namespace of process %d again", (int)pid);
	if (ns_get(o, name, &ns, e) == 0 && ns_mark(o, ns, found, e) == 0 && strcmp(found, mark) == 0)
		return 0;
	if (ns_cached(o, name))
		ns_drop(o, ns_cached(o, name));
	umount2(path, MNT_DETACH);
	return err_set(e, E_NOT_FOUND, "process %d is in no namespace of ours", (int)pid);
}

/* Something is mounted there: is it ours, and this one? */
static int check_mark(struct overlay *o, const char *name, const char *mark, struct err *e)
{
	char found[ALIAS_MAX];
	struct ns *ns;
	int rc = ns_get(o, name, &ns, e);

	if (rc == 0)
		rc = ns_mark(o, ns, found, e);
	if (rc < 0 || strcmp(found, mark) == 0)
		return rc;
	if (strncmp(found, ALIAS_TASK ":", strlen(ALIAS_TASK ":")) == 0)
		return err_set(e, E_IN_USE, "namespace %s is another task's still", name);
	if (strcmp(found, ALIAS_TASK) == 0)
		return 0; /* of a version that noted no owner */
	ns_drop(o, ns);   /* hold nothing of it, lest it cannot be removed */
	return err_set(e, E_EXISTS, "namespace %s exists and is not ours: remove or rename it", name);
}

int ns_create(struct overlay *o, const char *name, const char *mark, pid_t pid, struct err *e)
{
	char path[512];
	int rc;

	if (!name_is_valid_netns(name))
		return err_set(e, E_INVALID, "\"%s\" cannot name a namespace", name);
	ns_path(o, name, path);
	if (ns_cached(o, name) && !has_its_name(ns_cached(o, name), path)) {
		struct ns *ns;

		(void)ns_get(o, name, &ns, NULL); /* mounts it again */
	}
	rc = prepare_dir(o, e);
	if (rc == 0)
		rc = make_file(path, e);
	if (rc < 0)
		return rc;
	if (rc == 1)
		return check_mark(o, name, mark, e);
	if (pid > 0 && restore_of_process(o, name, mark, pid, path, NULL) == 0)
		return 0;
	return make_ns(o, name, mark, path, e);
}

int ns_remove(struct overlay *o, const char *name, const char *mark_prefix, struct err *e)
{
	char path[512], found[ALIAS_MAX];
	struct ns *ns;
	int rc;

	ns_path(o, name, path);
	if (is_half_made(path)) {
		unlink(path);
		return 0;
	}
	rc = ns_get(o, name, &ns, e);
	if (rc == E_NOT_FOUND) {
		err_forgive(e);
		return 0;
	}
	if (rc == 0)
		rc = ns_mark(o, ns, found, e);
	if (rc < 0)
		return rc;
	if (strncmp(found, mark_prefix, strlen(mark_prefix)) != 0)
		return err_set(e, E_EXISTS, "namespace %s is not ours", name);
	ns_drop(o, ns);
	if (umount2(path, MNT_DETACH) != 0)
		return err_errno(e, errno, "unmount %s", path);
	if (unlink(path) != 0 && errno != ENOENT)
		return err_errno(e, errno, "remove %s", path);
	return 0;
}

char **ns_names(struct overlay *o)
{
	DIR *d = opendir(o->netns_dir);
	char **names = xcalloc(1, sizeof(*names));
	size_t n = 0;

	for (struct dirent *ent; d && (ent = readdir(d));) {
		if (ent->d_name[0] == '.')
			continue;
		names = xrealloc(names, (n + 2) * sizeof(*names));
		names[n++] = xstrdup(ent->d_name);
		names[n] = NULL;
	}
	if (d)
		closedir(d);
	return names;
}

void ns_names_free(char **names)
{
	for (size_t i = 0; names[i]; i++)
		free(names[i]);
	free(names);
}

void ns_sweep_half_made(struct overlay *o)
{
	char **names = ns_names(o), path[512];

	for (size_t i = 0; names[i]; i++) {
		ns_path(o, names[i], path);
		if (is_half_made(path))
			unlink(path);
	}
	ns_names_free(names);
}
