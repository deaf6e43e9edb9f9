// SPDX-License-Identifier: Apache-2.0
/* Who a task runs as.
 *
 * The happy path is one look into the image's passwd (and group) file. Read with fgetpwent, not through NSS:
 * the task's users are the image's, and NSS would pull its modules into the worker. What can fail is an
 * unknown name, or a passwd that is no file. */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "base/foreign.h"
#include "worker/image/image.h"

/* Above all that useradd, systemd and subordinate ids of user namespaces give away, below 2^31, where some
 * programs see negative numbers. */
#define OWN_FIRST 0x70000000u
#define OWN_COUNT 0x0ffffff0u
#define GROUPS_MAX 64

static bool parse_id(const char *text, unsigned *ret)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || v >= UINT_MAX)
		return false;
	*ret = (unsigned)v;
	return true;
}

#define DB_MAX (4u << 20) /* of a passwd or group file */

/* The image's file as a stream; NULL when it has none. *ret_text is what the stream reads from. */
static int db_open(const char *root, const char *name, char **ret_text, FILE **ret, struct err *e)
{
	size_t len;
	int rc = foreign_read_image(root, name, DB_MAX, ret_text, &len, e);

	*ret = NULL;
	if (rc == -ENOENT) {
		err_clear(e);
		return 0;
	}
	if (rc == 0 && len)
		*ret = fmemopen(*ret_text, len, "r");
	return rc;
}

static int passwd_find(const char *root, const char *name, struct user *u, char **ret_login, struct err *e)
{
	cleanup_free char *text = NULL;
	FILE *f;
	struct passwd *pw = NULL;
	unsigned id = 0;
	bool by_id = parse_id(name, &id);

	if (db_open(root, "etc/passwd", &text, &f, e) < 0)
		return e->code;
	while (f && (pw = fgetpwent(f)))
		if (by_id ? pw->pw_uid == id : strcmp(pw->pw_name, name) == 0)
			break;
	if (pw) {
		u->uid = pw->pw_uid;
		u->gid = pw->pw_gid;
		u->home = xstrdup(pw->pw_dir);
		*ret_login = xstrdup(pw->pw_name);
	} else if (by_id) {
		u->uid = id;
		u->gid = id;
		u->home = xstrdup("/");
	}
	if (f)
		fclose(f);
	if (!pw && !by_id)
		return err_set(e, E_INVALID, "user %s is not in %s/etc/passwd", name, root);
	return 0;
}

static int group_find(const char *root, const char *name, gid_t *ret_gid, struct err *e)
{
	cleanup_free char *text = NULL;
	FILE *f;
	struct group *gr = NULL;
	unsigned id;

	if (parse_id(name, &id)) {
		*ret_gid = id;
		return 0;
	}
	if (db_open(root, "etc/group", &text, &f, e) < 0)
		return e->code;
	while (f && (gr = fgetgrent(f)))
		if (strcmp(gr->gr_name, name) == 0)
			break;
	if (gr)
		*ret_gid = gr->gr_gid;
	if (f)
		fclose(f);
	return gr ? 0 : err_set(e, E_INVALID, "group %s is not in %s/etc/group", name, root);
}

static bool lists(const struct group *gr, const char *login)
{
	for (char **m = gr->gr_mem; *m; m++)
		if (strcmp(*m, login) == 0)
			return true;
	return false;
}

/* The groups that name this login, as login(1) would give it. */
static int groups_find(const char *root, const char *login, struct user *u, struct err *e)
{
	cleanup_free char *text = NULL;
	const struct group *gr;
	FILE *f;

	if (db_open(root, "etc/group", &text, &f, e) < 0)
		return e->code;
	while (f && u->n_groups < GROUPS_MAX && (gr = fgetgrent(f)))
		if (gr->gr_gid != u->gid && lists(gr, login)) {
			u->groups = xrealloc(u->groups, (u->n_groups + 1) * sizeof(*u->groups));
			u->groups[u->n_groups++] = gr->gr_gid;
		}
	if (f)
		fclose(f);
	return 0;
}

int user_resolve(const char *root, const char *text, const char *fallback, struct user *ret, struct err *e)
{
	bool is_asked = text && *text;
	cleanup_free char *name = xstrdup(is_asked ? text : fallback), *login = NULL;
	char *colon = strchr(name, ':');
	struct user u = {0};
	int rc;

	if (colon)
		*colon++ = '\0';
	rc = passwd_find(root, name, &u, &login, e);
	if (rc == 0 && colon)
		rc = group_find(root, colon, &u.gid, e);
	else if (rc == 0 && login)
		rc = groups_find(root, login, &u, e);
	if (rc)
		user_fini(&u);
	else
		*ret = u;
	return rc;
}

/* 64-bit FNV-1a of the id, which is random: of a thousand ids on a host two are the same on one host in five
 * hundred, and then share a number as all tasks did before. */
void user_own(const char *id, struct user *ret)
{
	uint64_t h = 14695981039346656037ull;

	bug_if(!*id);
	for (const char *p = id; *p; p++)
		h = (h ^ (unsigned char)*p) * 1099511628211ull;
	*ret = (struct user){.uid = OWN_FIRST + (uid_t)(h % OWN_COUNT), .home = xstrdup("/"), .is_own = true};
	ret->gid = ret->uid;
}
