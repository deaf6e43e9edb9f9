// SPDX-License-Identifier: Apache-2.0
/* From what people type to a row: a full id, a name, or a unique prefix of an id.
 *
 * The happy path is: the id matches, or one row has the name. What can fail is: nothing matches, or a name or
 * a prefix fits several rows; the error says which of the two. */
#include <string.h>

#include "base/buf.h"
#include "base/bug.h"
#include "base/id.h"
#include "manager/store/internal.h"

#define PREFIX_MIN 4
#define IDS_SHOWN 4

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

const char *row_name(enum obj_kind kind, const void *row)
{
	const Gs__Node *node = row;
	const Gs__Service *service = row;
	const Gs__Network *network = row;

	switch (kind) {
	case OBJ_NODE:
		return or_empty(node->description ? node->description->hostname : NULL);
	case OBJ_SERVICE:
		return or_empty(service->spec ? service->spec->name : NULL);
	case OBJ_NETWORK:
		return or_empty(network->spec ? network->spec->name : NULL);
	case OBJ_TASK:
		return or_empty(((const Gs__Task *)row)->name);
	case OBJ_VOLUME:
		return or_empty(((const Gs__Volume *)row)->name);
	case OBJ_SECRET:
		return or_empty(((const Gs__Secret *)row)->name);
	case OBJ_CONFIG:
		return or_empty(((const Gs__Config *)row)->name);
	case OBJ_GALERA:
		return or_empty(((const Gs__GaleraCluster *)row)->name);
	case OBJ_ENDPOINT:
		return or_empty(((const Gs__Endpoint *)row)->name);
	default:
		return "";
	}
}

/* Of several tasks with one name (a slot's history) the one that should run is meant. */
static const void *better(enum obj_kind kind, const void *a, const void *b)
{
	bool run_a, run_b;

	if (kind != OBJ_TASK)
		return NULL;
	run_a = ((const Gs__Task *)a)->desired == TASK_RUNNING;
	run_b = ((const Gs__Task *)b)->desired == TASK_RUNNING;
	if (run_a == run_b)
		return NULL;
	return run_a ? a : b;
}

static bool has_name(enum obj_kind kind, const void *row, const char *name)
{
	return strcmp(row_name(kind, row), name) == 0;
}

static bool has_prefix(enum obj_kind kind, const void *row, const char *prefix)
{
	return strncmp(row_id(row), prefix, strlen(prefix)) == 0;
}

/* A node that came back under another id is Ready, and what it was is Down. */
static const char *row_state(enum obj_kind kind, const void *row)
{
	const Gs__Node *node = row;

	return kind == OBJ_NODE && node->status ? node_state_name(node->status->state) : "";
}

/* With as many of the ids to choose from as a line has room for. */
static int ambiguous(const struct store *s, enum obj_kind kind, const char *ref,
		     bool (*hit)(enum obj_kind kind, const void *row, const char *ref), struct err *e)
{
	struct buf ids = {0};
	const void *row;
	size_t n = 0;
	int rc;

	for (size_t i = 0; (row = store_at(s, kind, i)); i++) {
		const char *state = row_state(kind, row);

		if (!hit(kind, row, ref))
			continue;
		if (n < IDS_SHOWN)
			buf_printf(&ids, "%s%s%s%s%s", n ? ", " : "", row_id(row), *state ? " (" : "", state,
				   *state ? ")" : "");
		n++;
	}
	bug_if(n < 2);
	rc = err_set(e, E_INVALID, "%s %.64s is ambiguous, use one of the IDs: %s%s", obj_kind_name(kind),
		     ref, buf_text(&ids), n > IDS_SHOWN ? " ..." : "");
	buf_fini(&ids);
	return rc;
}

static int find_name(const struct store *s, enum obj_kind kind, const char *name, const void **ret,
		     struct err *e)
{
	const void *row;
	size_t hits = 0;

	*ret = NULL;
	for (size_t i = 0; (row = store_at(s, kind, i)); i++) {
		const void *best;

		if (strcmp(row_name(kind, row), name) != 0)
			continue;
		if (kind == OBJ_SECRET && *((const Gs__Secret *)row)->owner)
			continue; /* a cluster's own credentials have no name for people */
		best = *ret ? better(kind, *ret, row) : row;
		hits = best ? 1 : hits + 1;
		*ret = best ? best : *ret;
	}
	return hits > 1 ? ambiguous(s, kind, name, has_name, e) : 0;
}

static int find_prefix(const struct store *s, enum obj_kind kind, const char *prefix, const void **ret,
		       struct err *e)
{
	const void *row;
	size_t len = strlen(prefix);

	*ret = NULL;
	if (len < PREFIX_MIN)
		return 0;
	for (size_t i = 0; (row = store_at(s, kind, i)); i++) {
		if (!has_prefix(kind, row, prefix))
			continue;
		if (*ret)
			return ambiguous(s, kind, prefix, has_prefix, e);
		*ret = row;
	}
	return 0;
}

/* It is how some id begins. */
static bool too_short(const struct store *s, enum obj_kind kind, const char *ref)
{
	const void *row;
	size_t len = strlen(ref);

	for (size_t i = 0; len < PREFIX_MIN && (row = store_at(s, kind, i)); i++)
		if (strncmp(row_id(row), ref, len) == 0)
			return true;
	return false;
}

const void *store_find(const struct store *s, enum obj_kind kind, const char *ref, struct err *e)
{
	const void *row;

	if (!ref || !*ref) {
		err_set(e, E_INVALID, "no %s given", obj_kind_name(kind));
		return NULL;
	}
	row = store_get(s, kind, ref);
	if (row)
		return row;
	if (find_name(s, kind, ref, &row, e))
		return NULL;
	if (row)
		return row;
	if (find_prefix(s, kind, ref, &row, e))
		return NULL;
	if (!row)
		err_set(e, E_NOT_FOUND, "no %s %.64s%s", obj_kind_name(kind), ref,
			too_short(s, kind, ref) ? ": of an id give 4 characters at least" : "");
	return row;
}
