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

#include "base/mem.h"
#include "worker/host/foreign.h"
#include "worker/bundle/bundle.h"

#define NOBODY_ID "65534"

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

static int passwd_find(const char *root, const char *name, uid_t *ret_uid, gid_t *ret_gid, char **ret_home,
		       struct err *e)
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
		*ret_uid = pw->pw_uid;
		*ret_gid = pw->pw_gid;
		*ret_home = xstrdup(pw->pw_dir);
	} else if (by_id) {
		*ret_uid = id;
		*ret_gid = id;
		*ret_home = xstrdup("/");
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

int user_resolve(const char *root, const char *text, const char *fallback, uid_t *ret_uid, gid_t *ret_gid,
		 char **ret_home, struct err *e)
{
	bool is_asked = text && *text;
	cleanup_free char *name = xstrdup(is_asked ? text : fallback);
	char *colon = strchr(name, ':');
	int rc;

	if (colon)
		*colon++ = '\0';
	rc = passwd_find(root, name, ret_uid, ret_gid, ret_home, e);
	if (rc < 0 && !is_asked && strcmp(name, "nobody") == 0) { /* a small image need not have one */
		err_clear(e);
		rc = passwd_find(root, NOBODY_ID, ret_uid, ret_gid, ret_home, e);
	}
	if (rc == 0 && colon)
		rc = group_find(root, colon, ret_gid, e);
	return rc;
}
