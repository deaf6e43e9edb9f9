// SPDX-License-Identifier: Apache-2.0
/* What an earlier process left and nobody declared again.
 *
 * The happy path is: everything of ours that the kernel has is declared; nothing to do. Else it becomes a
 * thing that leaves, and the pass takes it away like any other. What can fail is a look into one namespace:
 * the whole sweep is done again later. */
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/internal.h"
#include "overlay/reap.h"

static void keep_drop(struct overlay *o)
{
	for (size_t i = 0; i < o->n_keep; i++)
		free(o->keep[i]);
	free(o->keep);
	o->keep = NULL;
	o->n_keep = 0;
}

void adopt_keep(struct overlay *o, const char *const *names, size_t n)
{
	keep_drop(o);
	bug_if(o->keep || (n > 0 && !names));
	o->keep = n ? xcalloc(n, sizeof(*o->keep)) : NULL;
	for (; o->n_keep < n; o->n_keep++)
		o->keep[o->n_keep] = xstrdup(names[o->n_keep]);
}

static bool is_kept(struct overlay *o, const char *name)
{
	struct task_ns *t = taskns_find(o, name);

	if (t && t->declared)
		return true;
	for (size_t i = 0; i < o->n_keep; i++)
		if (strcmp(o->keep[i], name) == 0)
			return true;
	for (struct port *p = o->ports; p; p = p->hh.next)
		if (strcmp(p->spec.netns, name) == 0)
			return true;
	for (struct leg *leg = o->legs; leg; leg = leg->hh.next)
		if (leg->declared && strcmp(leg->mark.netns, name) == 0)
			return true;
	return false;
}

/* A network's namespace stays while anything is declared in it, whether the kernel took it yet or not. */
static void sweep_network(struct overlay *o, const char *name, const char *id)
{
	char own[NAME_MAX_LEN];
	struct network *n;

	name_network_ns(id, own);
	if (strcmp(own, name) != 0)
		return;
	for (n = o->networks; n; n = n->hh.next)
		if (strcmp(n->ns_name, name) == 0 && (n->ports || work_is_there(&n->work)))
			return;
	work_doom(&network_get(o, id)->work);
}

static void sweep_task(struct overlay *o, const char *name, const char *mark)
{
	const char *owner = mark + strlen(ALIAS_TASK);
	struct task_ns *t;

	if (is_kept(o, name))
		return;
	t = taskns_get(o, name);
	if (work_is_there(&t->work))
		return;
	snprintf(t->owner, sizeof(t->owner), "%s", *owner == ':' ? owner + 1 : "");
	work_doom(&t->work);
}

static bool is_task_mark(const char *mark)
{
	size_t n = strlen(ALIAS_TASK);

	return strncmp(mark, ALIAS_TASK, n) == 0 && (mark[n] == 0 || mark[n] == ':');
}

static int sweep_ns(struct overlay *o, const char *name, struct err *e)
{
	char mark[ALIAS_MAX];
	struct ns *ns;
	int rc = ns_get(o, name, &ns, e);

	if (rc == E_NOT_FOUND) {
		err_forgive(e);
		return 0; /* no namespace, or it went in this moment */
	}
	if (rc == 0)
		rc = ns_mark(o, ns, mark, e);
	if (rc < 0)
		return rc;
	if (strncmp(mark, ALIAS_NET, strlen(ALIAS_NET)) == 0)
		sweep_network(o, name, mark + strlen(ALIAS_NET));
	else if (is_task_mark(mark))
		sweep_task(o, name, mark);
	else
		ns_drop(o, ns); /* not ours: hold nothing of it */
	return 0;
}

int adopt_sweep(struct overlay *o, struct err *e)
{
	char **names = ns_names(o);
	struct err first = {0}, one = {0};

	for (struct leg *leg = o->legs; leg; leg = leg->hh.next)
		if (!leg->declared)
			work_doom(&leg->work);
	reap_group(o, &o->host); /* what an earlier process gave up but did not come to delete */
	for (size_t i = 0; names[i]; i++)
		if (sweep_ns(o, names[i], &one) < 0 && first.code == 0)
			first = one;
	ns_names_free(names);
	ns_sweep_half_made(o);
	if (first.code < 0 && e)
		*e = first;
	return first.code;
}
