// SPDX-License-Identifier: Apache-2.0
/* The happy path: from the last start on, each "Quorum results" of a Primary component gives a conf_id (SQL
 * shows the number after it), and the next Primary "View" that lists this member gives the names. What can
 * fail: an unreadable log, or one so long that the start is not in the part read (has_start says so). */
#include "worker/galera/server_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"

#define TAIL_MAX (4u << 20) /* a start and hundreds of views */

struct walk {
	struct log_primary *p;
	bool quorum_primary, in_view, view_primary, view_own;
	uint64_t total; /* members of the newest Primary component */
};

void log_primary_fini(struct log_primary *p)
{
	for (size_t i = 0; i < p->n_members; i++)
		free(p->members[i]);
	*p = (struct log_primary){0};
}

static const char *after(const char *line, const char *text)
{
	const char *at = strstr(line, text);

	return at ? at + strlen(text) : NULL;
}

static void drop_members(struct log_primary *p)
{
	bug_if(p->n_members > array_size(p->members));
	for (size_t i = 0; i < p->n_members; i++)
		free(p->members[i]);
	p->n_members = 0;
}

/* "\tconf_id    = 4," and the like; the number, 0 when the line is another one. */
static bool quorum_number(const char *line, const char *name, uint64_t *ret)
{
	const char *at = after(line, name);

	if (!at)
		return false;
	at += strspn(at, " \t");
	if (*at != '=')
		return false;
	*ret = strtoull(at + 1, NULL, 10);
	return true;
}

static bool read_quorum(struct walk *w, const char *line)
{
	uint64_t n;

	if (strstr(line, "Quorum results:")) {
		w->quorum_primary = false;
	} else if (strstr(line, "component  = ")) {
		w->quorum_primary = strstr(line, "= PRIMARY");
		w->p->was_primary = w->p->was_primary || w->quorum_primary;
	} else if (w->quorum_primary && quorum_number(line, "conf_id", &n)) {
		w->p->conf_id = n + 1;
		drop_members(w->p);
	} else if (w->quorum_primary && quorum_number(line, "members", &n)) {
		w->total = strtoull(strchr(line, '/') ? strchr(line, '/') + 1 : "0", NULL, 10);
		w->quorum_primary = false;
	} else {
		return false;
	}
	return true;
}

/* "\t0: 90a75956-e4f2-11f1-a8b4-7e81cdb7e8f8, db.2" */
static void read_member(struct walk *w, const char *line)
{
	const char *colon = after(line, ": "), *comma = colon ? after(colon, ", ") : NULL;

	if (!comma || !w->view_primary || !w->view_own || w->p->n_members >= array_size(w->p->members))
		return;
	w->p->members[w->p->n_members++] = xstrdup(comma);
}

/* Views from before this member joined are printed too, while it receives them; it is not in them. */
static void read_view(struct walk *w, const char *line)
{
	const char *at;

	if (strstr(line, "=====")) {
		w->in_view = false;
		if (w->p->n_members != w->total)
			drop_members(w->p);
	} else if ((at = after(line, "  status: "))) {
		w->view_primary = strcmp(at, "primary") == 0;
	} else if ((at = after(line, "  own_index: "))) {
		w->view_own = *at != '-';
		if (w->view_primary && w->view_own)
			drop_members(w->p);
	} else if (strchr(line, '\t')) {
		read_member(w, line);
	}
}

/* "g<cluster id>-e<number>', peer ..." */
static uint64_t group_epoch(const char *name)
{
	const char *end = strchr(name, '\''), *at = end;

	while (at && at > name && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return at && at - name >= 2 && at[-1] == 'e' && at[-2] == '-' ? strtoull(at, NULL, 10) : 0;
}

/* "Shifting JOINED -> SYNCED (TO: 5)". A Synced member becomes a donor, JOINED and OPEN (its group is gone) with
 * its data whole; a joiner is given another state, and one that was voted out is CLOSED. */
static void read_shift(struct walk *w, const char *to)
{
	if (strncmp(to, "SYNCED", 6) == 0)
		w->p->is_synced = true;
	else if (strncmp(to, "JOINER", 6) == 0 || strncmp(to, "CLOSED", 6) == 0)
		w->p->is_synced = false;
	w->p->has_left = strncmp(to, "CLOSED", 6) == 0;
}

static bool tells_inconsistency(const char *line)
{
	return strstr(line, "WSREP") &&
	       (strstr(line, "Inconsistency detected") || strstr(line, "inconsistent with group") ||
		strstr(line, "nconsistent by consensus") || strstr(line, "ssuming inconsistency") ||
		strstr(line, "state is corrupt"));
}

static void read_line(struct walk *w, const char *line)
{
	const char *at, *to;

	if (strstr(line, "[Note] Starting MariaDB") || strstr(line, ") starting as process ")) {
		log_primary_fini(w->p);
		*w = (struct walk){.p = w->p};
		w->p->has_start = true;
	} else if ((at = after(line, "connecting to group '")) ||
		   (at = after(line, "bootstrapping new group '"))) {
		w->p->group_epoch = group_epoch(at);
	} else if ((at = after(line, "WSREP: Shifting ")) && (to = after(at, " -> "))) {
		read_shift(w, to);
	} else if (tells_inconsistency(line)) {
		w->p->is_inconsistent = true;
	} else if (strstr(line, "New COMPONENT: primary = yes")) {
		w->p->was_primary = true;
	} else if (read_quorum(w, line)) {
		return;
	} else if (w->in_view) {
		read_view(w, line);
	} else if (after(line, " View:") && !*after(line, " View:")) {
		w->in_view = true;
		w->view_primary = w->view_own = false;
	}
}

void log_primary_parse(const char *log, size_t len, struct log_primary *ret)
{
	struct walk w = {.p = ret};
	const char *end = log + len, *eol;

	bug_if(!log && len > 0);
	*ret = (struct log_primary){0};
	for (; log < end && (eol = memchr(log, '\n', (size_t)(end - log))); log = eol + 1) {
		cleanup_free char *line = strndup(log, (size_t)(eol - log));

		read_line(&w, line);
	}
	if (ret->n_members != w.total) /* the view is being printed */
		drop_members(ret);
}

int log_primary_read(const char *path, const struct conmon_mark *since, struct log_primary *ret,
		     struct err *e)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r = conmon_log_tail(path, TAIL_MAX, since, &text, &len, e);

	if (!r)
		log_primary_parse(text, len, ret);
	return r;
}
