// SPDX-License-Identifier: Apache-2.0
/* Judging a task's spec.
 *
 * The happy path is: every check passes. What can fail is anything a person typed; each refusal names the
 * option's value and the way out. Program words and environment values are the program's own: they must be
 * UTF-8, as the container's JSON must, and may hold line breaks (`sh -c` scripts do). Names, paths and labels
 * may not. */
#include "manager/model/check_task.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "base/text.h"
#include "manager/model/check.h"

#define WORDS_MAX_BYTES (128u << 10)
#define WORDS_MAX 4096u
#define MOUNTS_MAX 256u
#define USER_MAX 128u

static int check_stop_signal(const char *name, struct err *e)
{
	static const char *const known[] = {"HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "WINCH"};
	const char *word = strncmp(name, "SIG", 3) == 0 ? name + 3 : name;

	for (size_t i = 0; i < array_size(known); i++)
		if (!*name || strcmp(word, known[i]) == 0)
			return 0;
	if (isdigit((unsigned char)*name) && strspn(name, "0123456789") == strlen(name) && strlen(name) < 3 &&
	    atoi(name) >= 1 && atoi(name) <= 64)
		return 0;
	return err_set(e, E_INVALID,
		       "stop signal '%.40s' is none of HUP INT QUIT KILL USR1 USR2 TERM WINCH and no number "
		       "of 1 to 64",
		       name);
}

int check_image(const char *image, struct err *e)
{
	if (!*image)
		return err_set(e, E_INVALID, "no image given: 'host' or 'dir:/path'");
	if (strcmp(image, "host") == 0)
		return 0;
	if (strncmp(image, "dir:", 4) != 0)
		return err_set(e, E_INVALID, "image '%.100s': this version runs 'host' and 'dir:/path' only",
			       image);
	if (!text_is_path(image + 4))
		return err_set(e, E_INVALID,
			       "image '%.100s': after 'dir:' stands an absolute path without '..'", image);
	return 0;
}

static int check_words(const char *what, char *const *list, size_t n, struct err *e)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++) {
		if (!text_is_utf8(list[i]))
			return err_set(e, E_INVALID, "%s '%.60s' is not UTF-8", what, list[i]);
		bytes += strlen(list[i]) + 1;
	}
	if (n > WORDS_MAX || bytes > WORDS_MAX_BYTES)
		return err_set(e, E_LIMIT, "%s: %zu of %zu KiB; the limit is %u of %u KiB", what, n,
			       bytes >> 10, WORDS_MAX, WORDS_MAX_BYTES >> 10);
	return 0;
}

static int check_environment(const Gs__TaskSpec *t, struct err *e)
{
	for (size_t i = 0; i < t->n_env; i++) {
		size_t name = strcspn(t->env[i], "=");
		cleanup_free char *copy = strndup(t->env[i], name);

		if (!name || !t->env[i][name])
			return err_set(e, E_INVALID, "environment '%.60s' is not NAME=VALUE", t->env[i]);
		if (!text_is_plain(copy))
			return err_set(
				e, E_INVALID,
				"environment variable name '%.60s' has a control character or is not UTF-8",
				copy);
	}
	return check_words("environment", t->env, t->n_env, e);
}

/* "name", "uid", "name:group", "uid:gid" */
static int check_user(const char *user, struct err *e)
{
	const char *colon = strchr(user, ':');

	if (strlen(user) > USER_MAX || !text_is_plain(user) || strpbrk(user, " \t/") || *user == ':' ||
	    (colon && (!colon[1] || strchr(colon + 1, ':'))))
		return err_set(e, E_INVALID, "user '%.60s' is not NAME|UID[:GROUP|GID]", user);
	return 0;
}

static int check_process(Gs__TaskSpec *t, struct err *e)
{
	if (check_image(t->image, e) || check_words("argument", t->args, t->n_args, e) ||
	    check_environment(t, e) || check_user(t->user, e) || check_stop_signal(t->stop_signal, e))
		return e->code;
	if (t->n_args && !*t->args[0])
		return err_set(e, E_INVALID, "the command is empty: put a program's name after the image");
	if (*t->hostname && !text_is_hostname(t->hostname))
		return err_set(
			e, E_INVALID,
			"host name '%.70s' is none: up to 64 letters, digits and '-', parts joined by '.'",
			t->hostname);
	if (*t->dir && !text_is_path(t->dir))
		return err_set(e, E_INVALID, "working folder '%.80s' is not an absolute path without '..'",
			       t->dir);
	text_clean_path(t->dir);
	if (t->restart > RESTART_NONE)
		return err_set(e, E_INVALID, "unknown restart condition");
	return t->stop_grace_ms > STOP_GRACE_MAX_MS ? err_set(e, E_INVALID,
							      "stop grace period of %u s: the most is 24h, "
							      "and a service cannot be removed sooner",
							      t->stop_grace_ms / 1000)
						    : 0;
}

/* ---- mounts ---- */

static bool is_at_or_below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return strncmp(path, folder, n) == 0 && (path[n] == '/' || !path[n]);
}

/* What the container's own parts live on. /dev/shm may be one's own: databases want it larger. */
static bool is_taken(const char *target)
{
	static const char *const trees[] = {"/proc", "/sys", "/run/task", "/dev/pts"};

	for (size_t i = 0; i < array_size(trees); i++)
		if (is_at_or_below(target, trees[i]))
			return true;
	return strcmp(target, "/") == 0 || strcmp(target, "/dev") == 0 || strcmp(target, "/run") == 0;
}

static int check_source(const Gs__Mount *m, struct err *e)
{
	if (m->type == MOUNT_BIND && !text_is_path(m->source))
		return err_set(e, E_INVALID,
			       "bind mount on %.80s: source '%.80s' is not an absolute path without '..'",
			       m->target, m->source);
	if (m->type == MOUNT_VOLUME && *m->source && check_name("volume", m->source, e))
		return e->code;
	if (m->type == MOUNT_TMPFS && *m->source)
		return err_set(e, E_INVALID, "tmpfs on %.80s: a tmpfs has no source", m->target);
	if (m->type != MOUNT_TMPFS && m->tmpfs_bytes)
		return err_set(e, E_INVALID, "mount on %.80s: only a tmpfs has a size", m->target);
	if (m->tmpfs_bytes > TMPFS_MAX_BYTES)
		return err_set(e, E_INVALID, "tmpfs on %.80s: the largest is 1t", m->target);
	return m->type > MOUNT_TMPFS ? err_set(e, E_INVALID, "mount on %.80s: unknown type", m->target) : 0;
}

static int check_mount(Gs__Mount *m, struct err *e)
{
	if (!text_is_path(m->target))
		return err_set(e, E_INVALID, "mount target '%.80s' is not an absolute path without '..'",
			       m->target);
	text_clean_path(m->target);
	if (is_taken(m->target))
		return err_set(e, E_INVALID,
			       "mount target %.80s belongs to the container itself: choose another folder",
			       m->target);
	if (check_source(m, e))
		return e->code;
	if (m->type == MOUNT_BIND)
		text_clean_path(m->source);
	return 0;
}

static int check_mounts(const Gs__TaskSpec *t, struct err *e)
{
	if (t->n_mounts > MOUNTS_MAX)
		return err_set(e, E_LIMIT, "more than %u mounts", MOUNTS_MAX);
	for (size_t i = 0; i < t->n_mounts; i++) {
		if (check_mount(t->mounts[i], e))
			return e->code;
		for (size_t k = 0; k < i; k++)
			if (strcmp(t->mounts[k]->target, t->mounts[i]->target) == 0)
				return err_set(e, E_INVALID, "two mounts on %.80s", t->mounts[i]->target);
	}
	return 0;
}

/* ---- limits ---- */

static int check_resources(const Gs__TaskSpec *t, struct err *e)
{
	const Gs__Resources *l = t->limits, *r = t->reservations;

	if (l && l->memory_bytes && l->memory_bytes < (4u << 20))
		return err_set(e, E_INVALID, "memory limit of %" PRIu64 " bytes is below 4 MiB",
			       l->memory_bytes);
	if (l && l->nano_cpus && l->nano_cpus < CPUS_LEAST_NANO)
		return err_set(e, E_INVALID, "CPU limit of %g is below 0.01", (double)l->nano_cpus / 1e9);
	if ((l && (l->memory_bytes > INT64_MAX || l->nano_cpus > INT64_MAX)) ||
	    (r && (r->memory_bytes > INT64_MAX || r->nano_cpus > INT64_MAX)))
		return err_set(e, E_INVALID, "a limit or reservation is out of range");
	if (l && r && l->memory_bytes && r->memory_bytes > l->memory_bytes)
		return err_set(e, E_INVALID, "memory reservation is above the limit");
	if (l && r && l->nano_cpus && r->nano_cpus > l->nano_cpus)
		return err_set(e, E_INVALID, "CPU reservation is above the limit");
	return t->limit_pids > PIDS_MAX ? err_set(e, E_INVALID, "limit of %u processes: the most is %u",
						  t->limit_pids, PIDS_MAX)
					: 0;
}

int check_task(Gs__TaskSpec *t, struct err *e)
{
	bug_if(!t || !e);
	if (check_process(t, e) || check_mounts(t, e) || check_resources(t, e))
		return e->code;
	return 0;
}
