// SPDX-License-Identifier: Apache-2.0
/* The happy path prints statements. Names and passwords come from users: every one is quoted, so the worst
 * that a strange one can do is to be strange. An init file ends silently at the first statement that fails,
 * and SHUTDOWN is the last one: so nothing here may fail for lack of an account (GRANT PROXY and user limits
 * do). */
#include "worker/galera/genesis_sql.h"

#include <string.h>
#include "base/bug.h"

const char *genesis_env(const Gs__TaskSpec *spec, const char *name)
{
	static const char *const prefixes[] = {"MYSQL_", "MARIADB_"};
	size_t len = strlen(name);

	bug_if(!*name);
	for (size_t i = 0; spec && i < spec->n_env; i++)
		for (size_t k = 0; k < 2; k++) {
			size_t n = strlen(prefixes[k]);
			const char *kv = spec->env[i];

			if (strncmp(kv, prefixes[k], n) == 0 && strncmp(kv + n, name, len) == 0 &&
			    kv[n + len] == '=')
				return kv + n + len + 1;
		}
	return "";
}

/* 'text' with quotes and backslashes escaped; a newline would end a statement of an init file. */
static void put_text(struct buf *out, const char *text)
{
	buf_printf(out, "'");
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			buf_u8(out, '\\');
		if (*text == '\n')
			buf_printf(out, "\\n");
		else if (*text == '\r')
			buf_printf(out, "\\r");
		else
			buf_u8(out, (uint8_t)*text);
	}
	buf_printf(out, "'");
}

static void put_name(struct buf *out, const char *name)
{
	buf_printf(out, "`");
	for (; *name; name++) {
		if (*name == '`')
			buf_u8(out, '`');
		buf_u8(out, (uint8_t)(*name == '\n' || *name == '\r' ? ' ' : *name));
	}
	buf_printf(out, "`");
}

static void put_user(struct buf *out, const char *verb, const char *user, const char *host,
		     const char *password)
{
	bug_if(!*user);
	buf_printf(out, "%s ", verb);
	put_text(out, user);
	buf_printf(out, "@");
	put_text(out, host);
	buf_printf(out, " IDENTIFIED BY ");
	put_text(out, password);
	buf_printf(out, ";\n");
}

static void put_root(struct buf *out, const struct genesis_accounts *a)
{
	/* install-db makes accounts without passwords for each name of this host. */
	buf_printf(out,
		   "DELETE FROM mysql.global_priv WHERE User='' OR (User='root' AND Host<>'localhost');\n"
		   "FLUSH PRIVILEGES;\n");
	put_user(out, "ALTER USER", "root", "localhost", a->root);
	if (strcmp(a->root_host, "localhost") == 0)
		return;
	put_user(out, "CREATE OR REPLACE USER", "root", a->root_host, a->root);
	buf_printf(out, "GRANT ALL ON *.* TO 'root'@");
	put_text(out, a->root_host);
	buf_printf(out, " WITH GRANT OPTION;\n");
}

static void put_application(struct buf *out, const struct genesis_accounts *a)
{
	if (*a->database) {
		buf_printf(out, "CREATE DATABASE IF NOT EXISTS ");
		put_name(out, a->database);
		buf_printf(out, ";\n");
	}
	if (!*a->user || !*a->password)
		return;
	put_user(out, "CREATE OR REPLACE USER", a->user, "%", a->password);
	if (!*a->database)
		return;
	buf_printf(out, "GRANT ALL ON ");
	put_name(out, a->database);
	buf_printf(out, ".* TO ");
	put_text(out, a->user);
	buf_printf(out, "@'%%';\n");
}

void genesis_sql_format(const struct genesis_accounts *a, struct buf *out)
{
	/* Off, so that the joiners' and this member's positions start equal. */
	buf_printf(out, "SET SESSION wsrep_on=OFF;\nSET SESSION sql_log_bin=0;\nSET SESSION sql_mode='';\n");
	put_root(out, a);
	put_user(out, "CREATE OR REPLACE USER", "gs_health", "localhost", a->health);
	buf_printf(out, "GRANT PROCESS, BINLOG MONITOR ON *.* TO 'gs_health'@'localhost';\n");
	put_user(out, "CREATE OR REPLACE USER", "gs_sst", "localhost", a->sst);
	buf_printf(out, "GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR ON *.* TO "
			"'gs_sst'@'localhost';\n");
	put_user(out, "CREATE OR REPLACE USER", "gs_admin", "localhost", a->admin);
	buf_printf(out, "GRANT SUPER, CONNECTION ADMIN, PROCESS, RELOAD ON *.* TO 'gs_admin'@'localhost';\n");
	put_application(out, a);
	buf_printf(out, "SHUTDOWN;\n");
}
