// SPDX-License-Identifier: Apache-2.0
/* Layers of the host's /etc that no task has any more go when the worker starts: each change of the host's files
 * leaves one, in memory.
 *
 * The happy path reads the configuration of each container that may run and keeps the layers that it names. What
 * can fail: a configuration that cannot be read may name any of them, so all stay until the next start; so they do
 * while somebody else has the lock. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/image/image.h"

#define CONFIG_MAX (4u << 20)

struct layer {
	char *name;
	bool is_used;
};
struct layers {
	struct layer *list;
	size_t n;
};

static void layers_free(struct layers *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->list[i].name);
	free(l->list);
}

/* Calls each for the entries that do not begin with a dot. 0 also when the folder is missing. */
static int each_entry(const char *dir, int (*each)(const char *path, const char *name, void *arg), void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	int rc = d || errno == ENOENT || errno == ENOTDIR ? 0 : -errno;

	while (d && !rc && (errno = 0, entry = readdir(d))) {
		cleanup_free char *path = xasprintf("%s/%s", dir, entry->d_name);

		if (entry->d_name[0] != '.')
			rc = each(path, entry->d_name, arg);
		errno = 0;
	}
	if (d && !rc)
		rc = -errno;
	if (d)
		closedir(d);
	return rc;
}

static int layer_found(const char *path, const char *name, void *arg)
{
	struct layers *l = arg;

	l->list = xrealloc(l->list, (l->n + 1) * sizeof(*l->list));
	l->list[l->n++] = (struct layer){.name = xstrdup(name)};
	return 0;
}

static void mark_named(struct layers *l, const char *text)
{
	for (size_t i = 0; i < l->n; i++)
		if (strstr(text, l->list[i].name))
			l->list[i].is_used = true;
}

/* Of an attempt or of a tool: all else in a task's folder may hold what the task wrote. */
static bool is_bundle(const char *name)
{
	return (*name >= '0' && *name <= '9') || strncmp(name, "tool", 4) == 0;
}

static int bundle_found(const char *path, const char *name, void *arg)
{
	cleanup_free char *config = xasprintf("%s/config.json", path), *text = NULL;
	int rc = is_bundle(name) ? fs_read(config, CONFIG_MAX, &text, NULL, NULL) : -ENOENT;

	if (rc == 0)
		mark_named(arg, text);
	return rc == -ENOENT || rc == -ENOTDIR ? 0 : rc; /* never launched */
}

static int task_found(const char *path, const char *name, void *arg)
{
	return each_entry(path, bundle_found, arg);
}

void etc_layers_tidy(const char *dir, const char *tasks_dir)
{
	cleanup_close int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *current = xasprintf("%s/.current", dir);
	struct layers l = {0};
	int rc;

	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0)
		return; /* no layer was ever made, or one is being made: the loop waits for nobody */
	rc = each_entry(dir, layer_found, &l);
	if (!rc)
		rc = each_entry(tasks_dir, task_found, &l);
	if (rc)
		log_warn("%s: what is not used any more stays: %s", dir, strerror(-rc));
	else
		unlink(current); /* it may name one that goes */
	for (size_t i = 0; !rc && i < l.n; i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, l.list[i].name);

		if (!l.list[i].is_used)
			fs_remove_all(path, NULL);
	}
	layers_free(&l);
}
