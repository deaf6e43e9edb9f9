// SPDX-License-Identifier: Apache-2.0
/* From status variables to a view. A value that is no number counts as 0, which never makes a member READY. */
#include "worker/galera/view.h"

#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"

#define LAGGING_QUEUE 100 /* ProxySQL's max_transactions_behind */
#define MAX_MEMBERS 64

static void set_members(Gs__GaleraView *v, const char *list)
{
	cleanup_free char *copy = xstrdup(list);
	char *save = NULL;

	for (size_t i = 0; i < v->n_members; i++)
		free(v->members[i]);
	free(v->members);
	v->members = NULL;
	v->n_members = 0;
	for (char *m = strtok_r(copy, ",", &save); m && v->n_members < MAX_MEMBERS;
	     m = strtok_r(NULL, ",", &save))
		obj_add_str(&v->n_members, &v->members, m);
}

static bool is_on(const char *value)
{
	return strcmp(value, "ON") == 0;
}

void view_set(Gs__GaleraView *v, const char *name, const char *value)
{
	bug_if(!value);
	if (strncmp(name, "wsrep_", 6))
		return;
	name += 6;
	if (strcmp(name, "cluster_status") == 0)
		str_replace(&v->status, value);
	else if (strcmp(name, "local_state") == 0)
		v->local_state = v->local_state == 5 ? 5 : (uint32_t)strtoul(value, NULL, 10);
	else if (strcmp(name, "local_state_comment") == 0)
		v->local_state = strcmp(value, "Inconsistent") == 0 ? 5 : v->local_state;
	else if (strcmp(name, "ready") == 0)
		v->ready = is_on(value);
	else if (strcmp(name, "connected") == 0)
		v->connected = is_on(value);
	else if (strcmp(name, "cluster_size") == 0)
		v->cluster_size = (uint32_t)strtoul(value, NULL, 10);
	else if (strcmp(name, "cluster_conf_id") == 0)
		v->conf_id = strtoull(value, NULL, 10);
	else if (strcmp(name, "cluster_state_uuid") == 0)
		str_replace(&v->cluster_uuid, value);
	else if (strcmp(name, "gcomm_uuid") == 0)
		str_replace(&v->gcomm_uuid, value);
	else if (strcmp(name, "incoming_addresses") == 0)
		set_members(v, value);
	else if (strcmp(name, "last_committed") == 0)
		v->last_committed = strtoll(value, NULL, 10);
	else if (strcmp(name, "local_cached_downto") == 0)
		v->cached_downto = strtoll(value, NULL, 10);
	else if (strcmp(name, "local_recv_queue") == 0)
		v->recv_queue = (uint32_t)strtoul(value, NULL, 10);
	else if (strcmp(name, "flow_control_paused_ns") == 0)
		v->flow_paused_ns = strtoll(value, NULL, 10);
}

const char *view_health(const Gs__GaleraView *v, enum view_doubt doubt, bool was_synced)
{
	if (v->local_state == 5)
		return "BROKEN";
	if (!v->sql_open)
		return "STARTING";
	if (doubt == VIEW_LEFT)
		return "LEFT";
	if (strcmp(v->status, "Primary"))
		return was_synced ? "ISOLATED" : "STARTING";
	if (doubt != VIEW_TRUSTED)
		return was_synced ? "ISOLATED" : "STARTING";
	if (v->local_state == 2)
		return "DONOR";
	if (v->local_state != 4 || !v->ready)
		return "STARTING";
	return v->recv_queue > LAGGING_QUEUE ? "LAGGING" : "READY";
}

void view_set_primary(Gs__GaleraView *v, const Gs__GaleraView *primary)
{
	if (!primary || strcmp(v->status, "Primary") == 0)
		return;
	v->prim_conf_id = primary->conf_id;
	for (size_t i = 0; i < primary->n_members; i++)
		obj_add_str(&v->n_prim_members, &v->prim_members, primary->members[i]);
}

static bool same_list(size_t n, char *const *a, size_t m, char *const *b)
{
	if (n != m)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(a[i], b[i]))
			return false;
	return true;
}

bool view_is_same(const Gs__GaleraView *a, const Gs__GaleraView *b)
{
	bug_if(!b);
	return same_list(a->n_members, a->members, b->n_members, b->members) &&
	       same_list(a->n_prim_members, a->prim_members, b->n_prim_members, b->prim_members) &&
	       a->prim_conf_id == b->prim_conf_id && strcmp(a->status, b->status) == 0 &&
	       a->local_state == b->local_state && a->ready == b->ready && a->connected == b->connected &&
	       a->cluster_size == b->cluster_size && a->conf_id == b->conf_id &&
	       strcmp(a->cluster_uuid, b->cluster_uuid) == 0 && strcmp(a->gcomm_uuid, b->gcomm_uuid) == 0 &&
	       strcmp(a->health, b->health) == 0 && a->sql_open == b->sql_open;
}

int view_check_order(uint64_t ordered, uint64_t newest, struct err *e)
{
	if (ordered && !newest)
		return err_set(
			e, E_STALE_VERSION,
			"pc.bootstrap refused: ordered after view %llu, and neither the server nor its "
			"log tells in which this member has been",
			(unsigned long long)ordered);
	if (ordered && newest > ordered)
		return err_set(
			e, E_STALE_VERSION,
			"pc.bootstrap refused: ordered after view %llu, this member has been in view %llu",
			(unsigned long long)ordered, (unsigned long long)newest);
	return 0;
}
