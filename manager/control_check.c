// SPDX-License-Identifier: Apache-2.0
/* The happy path is: every check passes and the request can be put into a tx as it is. What can fail is
 * anything a person typed; each refusal names the object, the value and the way out, and nothing has changed
 * by then. */
#include "manager/control_check.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "manager/reconcile_internal.h"

#define NAME_MAX_LEN 63
#define REPLICAS_MAX 1000u
#define ENV_MAX_BYTES (128u << 10)
#define LIST_MAX 256u
#define POOL_MASK 24u

int check_name(const char *what, const char *name, struct err *e)
{
	size_t n = strlen(name);

	if (n == 0)
		return err_set(e, E_INVALID, "%s has no name", what);
	if (n > NAME_MAX_LEN)
		return err_set(e, E_INVALID, "%s name '%.20s...' is longer than %d characters", what, name,
			       NAME_MAX_LEN);
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && (i == 0 || !strchr("_.-", name[i])))
			return err_set(e, E_INVALID,
				       "%s name '%s' must begin with a letter or digit and hold only "
				       "letters, digits, "
				       "'_', '.' and '-'",
				       what, name);
	return 0;
}

/* "db.1" is the name of a member of db, in /etc/hosts and in 'service logs'. */
static int check_service_name(const char *name, struct err *e)
{
	if (check_name("service", name, e))
		return e->code;
	return strchr(name, '.')
		       ? err_set(e, E_INVALID,
				 "service name '%s' holds a dot, which stands between a service and its "
				 "task's number: use '-' or '_'",
				 name)
		       : 0;
}

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

int check_hostname(const char *name, struct err *e)
{
	return strlen(name) > 253 ? err_set(e, E_INVALID, "host name is longer than 253 characters")
				  : check_name("host", *name ? name : "?", e);
}

static int check_range(const char *what, uint64_t value, uint64_t min, uint64_t max, struct err *e)
{
	if (value == 0 || (value >= min && value <= max)) /* 0: the default */
		return 0;
	return err_set(e, E_INVALID, "%s %" PRIu64 " is not within %" PRIu64 " and %" PRIu64, what, value,
		       min, max);
}

int check_cluster_spec(const Gs__ClusterSpec *spec, struct err *e)
{
	Gs__Addr *pool = NULL;
	uint32_t mask = spec->default_addr_pool_mask;
	int rc = 0;

	if (check_range("heartbeat (ms)", spec->heartbeat_ms, 100, 60000, e) ||
	    check_range("missed heartbeats", spec->heartbeat_missed, 2, 100, e) ||
	    check_range("task history limit", spec->task_history_limit, 1, 1000, e) ||
	    check_range("snapshot interval", spec->snapshot_interval, 100, 10000000, e) ||
	    check_range("certificate expiry (s)", spec->cert_expiry_s, 3600, 3650ull * 86400, e) ||
	    check_range("address pool mask length", spec->default_addr_pool_mask, 8, 29, e) ||
	    check_range("data path port", spec->data_path_port, 1024, 49151, e))
		return e->code;
	if (*spec->default_addr_pool)
		rc = addr_parse_cidr(spec->default_addr_pool, &pool, e);
	if (pool && (pool->ip.len != 4 || pool->prefix > (mask ? mask : POOL_MASK)))
		rc = err_set(e, E_INVALID, "'%s' holds no IPv4 subnet with a prefix of %u",
			     spec->default_addr_pool, mask ? mask : POOL_MASK);
	obj_free(pool);
	return rc ? err_wrap(e, "--default-addr-pool") : 0;
}

#define DEFAULT(field, value)                                                                                \
	if (spec->field == 0)                                                                                \
	spec->field = (value)

void cluster_spec_defaults(Gs__ClusterSpec *spec)
{
	DEFAULT(heartbeat_ms, 1000);
	DEFAULT(heartbeat_missed, 3);
	DEFAULT(task_history_limit, 5);
	DEFAULT(snapshot_interval, 10000);
	DEFAULT(cert_expiry_s, 90ull * 86400);
	DEFAULT(raft_heartbeat_ms, 100);
	DEFAULT(raft_election_ms, 1000);
	DEFAULT(default_addr_pool_mask, POOL_MASK);
	DEFAULT(data_path_port, 4789);
	if (!*spec->default_addr_pool)
		str_replace(&spec->default_addr_pool, "10.0.0.0/8");
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
	if (image[4] != '/' || strlen(image) > 4096 || strstr(image, "/../"))
		return err_set(e, E_INVALID, "image '%.100s': the path after 'dir:' must be absolute", image);
	return 0;
}

int check_constraint(const char *text, struct err *e)
{
	static const char *const keys[] = {"node.id", "node.hostname",    "node.role",
					   "node.ip", "node.platform.os", "node.platform.arch"};
	const char *op = strstr(text, "==");
	char key[128];
	size_t n;

	if (!op)
		op = strstr(text, "!=");
	if (!op || strlen(text) > 255)
		return err_set(e, E_INVALID, "constraint '%.80s' is not KEY==VALUE or KEY!=VALUE", text);
	n = (size_t)(op - text);
	while (n > 0 && text[n - 1] == ' ')
		n--;
	snprintf(key, sizeof(key), "%.*s", (int)n, text);
	if (strncmp(key, "node.labels.", 12) == 0 && key[12])
		return 0;
	for (size_t i = 0; i < array_size(keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return 0;
	return err_set(e, E_INVALID,
		       "constraint '%.80s': unknown key '%.60s' (node.id, node.hostname, node.role, node.ip, "
		       "node.platform.os, node.platform.arch, node.labels.NAME)",
		       text, key);
}

int check_labels(Gs__Label *const *labels, size_t n, const char *what, struct err *e)
{
	if (n > LIST_MAX)
		return err_set(e, E_LIMIT, "%s: more than %u labels", what, LIST_MAX);
	for (size_t i = 0; i < n; i++)
		if (!*labels[i]->key || strlen(labels[i]->key) > 128 || strlen(labels[i]->value) > 4096)
			return err_set(e, E_INVALID, "%s: label '%.40s' is empty or too long", what,
				       labels[i]->key);
	return 0;
}

const char *env_find(char *const *env, size_t n, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < n; i++)
		if (strncmp(env[i], key, len) == 0 && env[i][len] == '=')
			return env[i] + len + 1;
	return NULL;
}

/* ---- services ---- */

static int check_strings(const char *what, char *const *list, size_t n, struct err *e)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += strlen(list[i]) + 1;
	if (n > 4096 || bytes > ENV_MAX_BYTES)
		return err_set(e, E_LIMIT, "%s: more than %u KiB", what, ENV_MAX_BYTES >> 10);
	return 0;
}

static int check_mounts(const Gs__TaskSpec *t, struct err *e)
{
	if (t->n_mounts > LIST_MAX)
		return err_set(e, E_LIMIT, "more than %u mounts", LIST_MAX);
	for (size_t i = 0; i < t->n_mounts; i++) {
		const Gs__Mount *m = t->mounts[i];

		if (m->target[0] != '/' || strlen(m->target) > 4000 || strstr(m->target, "/../"))
			return err_set(e, E_INVALID, "mount target '%.80s' is not an absolute path",
				       m->target);
		if (m->type == MOUNT_BIND && m->source[0] != '/')
			return err_set(e, E_INVALID,
				       "bind mount on %.80s: source '%.80s' is not an absolute path",
				       m->target, m->source);
		if (m->type == MOUNT_VOLUME && *m->source && check_name("volume", m->source, e))
			return e->code;
		if (m->type > MOUNT_TMPFS)
			return err_set(e, E_INVALID, "mount on %.80s: unknown type", m->target);
		for (size_t k = 0; k < i; k++)
			if (strcmp(t->mounts[k]->target, m->target) == 0)
				return err_set(e, E_INVALID, "two mounts on %.80s", m->target);
	}
	return 0;
}

static int check_resources(const Gs__TaskSpec *t, struct err *e)
{
	const Gs__Resources *l = t->limits, *r = t->reservations;

	if (l && l->memory_bytes && l->memory_bytes < (4u << 20))
		return err_set(e, E_INVALID, "memory limit of %" PRIu64 " bytes is below 4 MiB",
			       l->memory_bytes);
	if (l && r && l->memory_bytes && r->memory_bytes > l->memory_bytes)
		return err_set(e, E_INVALID, "memory reservation is above the limit");
	if (l && r && l->nano_cpus && r->nano_cpus > l->nano_cpus)
		return err_set(e, E_INVALID, "CPU reservation is above the limit");
	return 0;
}

static int resolve_networks(const struct store *s, Gs__TaskSpec *t, struct err *e)
{
	if (t->n_networks > 16)
		return err_set(e, E_LIMIT, "more than 16 networks");
	for (size_t i = 0; i < t->n_networks; i++) {
		const Gs__Network *net = store_find(s, OBJ_NETWORK, t->networks[i]->network_id, e);

		if (!net)
			return e->code;
		if (net->meta->deleting)
			return err_set(e, E_IN_USE, "network %s is being removed", net->spec->name);
		str_replace(&t->networks[i]->network_id, net->meta->id);
		for (size_t k = 0; k < i; k++)
			if (strcmp(t->networks[k]->network_id, net->meta->id) == 0)
				return err_set(e, E_INVALID, "network %s is given twice", net->spec->name);
		for (size_t k = 0; k < t->networks[i]->n_aliases; k++)
			if (check_name("alias", t->networks[i]->aliases[k], e))
				return e->code;
	}
	return 0;
}

static int check_ports(const struct store *s, const Gs__ServiceSpec *spec, struct err *e)
{
	const Gs__Service *other;

	if (spec->n_ports > LIST_MAX)
		return err_set(e, E_LIMIT, "more than %u ports", LIST_MAX);
	for (size_t i = 0; i < spec->n_ports; i++) {
		const Gs__Port *p = spec->ports[i];

		if (p->target == 0 || p->target > 65535 || p->published > 65535)
			return err_set(e, E_INVALID, "port %u:%u is out of range", p->published, p->target);
		for (size_t k = 0; p->published && (other = store_at(s, OBJ_SERVICE, k)); k++)
			for (size_t q = 0; q < other->spec->n_ports; q++)
				if (other->spec->ports[q]->published == p->published &&
				    strcmp(other->spec->name, spec->name) != 0)
					return err_set(e, E_IN_USE,
						       "port %u is published by service %s already",
						       p->published, other->spec->name);
	}
	return 0;
}

static bool one_of(const char *value, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(value, list[i]) == 0)
			return true;
	return *value == '\0';
}

static int check_galera(const Gs__ServiceSpec *spec, struct err *e)
{
	static const char *const profiles[] = {"lan-fast", "lan", "safe", "wan"};
	static const char *const methods[] = {"mariabackup", "rsync"};
	static const char *const modes[] = {"writer", "any"};
	const Gs__GaleraSpec *g = spec->galera;

	if (g && !one_of(g->profile, profiles, array_size(profiles)))
		return err_set(e, E_INVALID, "unknown Galera profile '%.40s' (lan-fast, lan, safe, wan)",
			       g->profile);
	if (g && !one_of(g->sst_method, methods, array_size(methods)))
		return err_set(e, E_INVALID, "unknown SST method '%.40s' (mariabackup, rsync)",
			       g->sst_method);
	if (g && !one_of(g->endpoint_mode, modes, array_size(modes)))
		return err_set(e, E_INVALID, "unknown endpoint mode '%.40s' (writer, any)", g->endpoint_mode);
	if (g && *g->cluster_name && check_name("cluster", g->cluster_name, e))
		return e->code;
	if (spec->task->n_networks == 0)
		return err_set(e, E_INVALID,
			       "a Galera service needs a network: 'gswarm network create -d overlay NAME', "
			       "then --network "
			       "NAME");
	if (spec->max_per_node > 1)
		return err_set(e, E_INVALID,
			       "members of one Galera cluster run on different nodes: "
			       "--replicas-max-per-node must be 1");
	return 0;
}

static int check_service_body(const struct store *s, Gs__ServiceSpec *spec, struct err *e)
{
	Gs__TaskSpec *t = spec->task;

	if (check_image(t->image, e) || check_strings("arguments", t->args, t->n_args, e) ||
	    check_strings("environment", t->env, t->n_env, e) || check_mounts(t, e) ||
	    check_stop_signal(t->stop_signal, e) || check_resources(t, e) ||
	    check_labels(spec->labels, spec->n_labels, "labels", e) || resolve_networks(s, t, e) ||
	    check_ports(s, spec, e))
		return e->code;
	for (size_t i = 0; i < t->n_env; i++)
		if (!strchr(t->env[i], '=') || t->env[i][0] == '=')
			return err_set(e, E_INVALID, "environment '%.60s' is not NAME=VALUE", t->env[i]);
	if (spec->n_constraints > LIST_MAX)
		return err_set(e, E_LIMIT, "more than %u constraints", LIST_MAX);
	for (size_t i = 0; i < spec->n_constraints; i++)
		if (check_constraint(spec->constraints[i], e))
			return e->code;
	if (spec->mode == MODE_REPLICATED && spec->replicas > REPLICAS_MAX)
		return err_set(e, E_LIMIT, "%u replicas; the limit is %u", spec->replicas, REPLICAS_MAX);
	if (spec->topology == TOPO_GALERA)
		return check_galera(spec, e);
	if (spec->topology != TOPO_NONE)
		return err_set(e, E_INVALID, "this version has the topologies none and galera");
	if (t->n_args == 0)
		return err_set(e, E_INVALID, "no command given: put it after the image");
	return 0;
}

int check_service(const struct store *s, Gs__ServiceSpec *spec, struct err *e)
{
	if (check_service_name(spec->name, e))
		return e->code;
	if (!spec->task)
		return err_set(e, E_INVALID, "service %s: no image given", spec->name);
	if (spec->mode > MODE_GLOBAL)
		return err_set(e, E_INVALID, "service %s: unknown mode", spec->name);
	return check_service_body(s, spec, e) ? err_wrap(e, "service %s", spec->name) : 0;
}

const char *node_display(const Gs__Node *n)
{
	return node_name(n);
}

static const char *why_not(const struct store *s, const Gs__ServiceSpec *spec, const Gs__Node *n,
			   int64_t now_ms, char *buf, size_t size)
{
	int64_t since_s = n->status ? (now_ms - n->status->since_ms) / 1000 : 0;

	if (!node_is_ready(n))
		snprintf(buf, size, "node %s is %s %" PRId64 "s", node_name(n),
			 node_is_down(n) ? "down" : "unknown", since_s < 0 ? 0 : since_s);
	else if (node_availability(n) != AVAIL_ACTIVE)
		snprintf(buf, size, "node %s is %s", node_name(n),
			 node_availability(n) == AVAIL_PAUSE ? "paused" : "drained");
	else if (!constraints_match(spec, n))
		snprintf(buf, size, "node %s does not match the constraints", node_name(n));
	else
		return NULL;
	return buf;
}

int check_galera_nodes(const struct store *s, const Gs__ServiceSpec *spec, uint32_t replicas, int64_t now_ms,
		       struct err *e)
{
	char why[160] = "", one[120];
	const Gs__Node *n;
	uint32_t ready = 0;

	for (size_t i = 0; (n = store_at(s, OBJ_NODE, i)); i++) {
		if (!why_not(s, spec, n, now_ms, one, sizeof(one)))
			ready++;
		else if (strlen(why) + strlen(one) + 4 < sizeof(why))
			snprintf(why + strlen(why), sizeof(why) - strlen(why), "%s%s", *why ? ", " : "", one);
	}
	if (replicas <= ready)
		return 0;
	return err_set(e, E_LIMIT, "service %s: %u replica%s need%s %u node%s, %u %s ready%s%s%s", spec->name,
		       replicas, replicas == 1 ? "" : "s", replicas == 1 ? "s" : "", replicas,
		       replicas == 1 ? "" : "s", ready, ready == 1 ? "is" : "are", *why ? " (" : "", why,
		       *why ? ")" : "");
}

/* ---- networks ---- */

/* RFC 6890: what never is a host's own unicast address on a network. */
static bool is_reserved(uint8_t first, uint8_t second)
{
	return first == 0 || first == 127 || first >= 224 || (first == 169 && second == 254);
}

static int check_subnet(const struct store *s, const Gs__NetworkSpec *spec, struct err *e)
{
	char text[64], other_text[64];
	const Gs__Network *net;
	const Gs__Node *node;

	addr_format_cidr(spec->subnet, text, sizeof(text));
	if (spec->subnet->ip.len == 4 && is_reserved(spec->subnet->ip.data[0], spec->subnet->ip.data[1]))
		return err_set(e, E_INVALID,
			       "subnet %s is reserved (loopback, link-local, multicast ...): choose another "
			       "one, like 10.20.0.0/24",
			       text);
	if (spec->subnet->ip.len != 4 || spec->subnet->prefix < 8 || spec->subnet->prefix > 29)
		return err_set(e, E_INVALID, "subnet %s: IPv4 with a prefix of 8 to 29 is needed", text);
	for (size_t i = 0; (net = store_at(s, OBJ_NETWORK, i)); i++) {
		const Gs__Addr *a = net->subnet ? net->subnet : net->spec->subnet;

		if (a && addr_overlaps(a, spec->subnet))
			return err_set(e, E_IN_USE,
				       "subnet %s overlaps with %s of network %s: choose another one", text,
				       addr_format_cidr(a, other_text, sizeof(other_text)), net->spec->name);
	}
	for (size_t i = 0; (node = store_at(s, OBJ_NODE, i)); i++) {
		const Gs__NodeDescription *d = node->description;

		if (d && (addr_contains(spec->subnet, &d->advertise_ip) ||
			  (d->vtep_ip.len && addr_contains(spec->subnet, &d->vtep_ip))))
			return err_set(e, E_IN_USE,
				       "subnet %s holds the address %s of node %s: choose another one", text,
				       addr_format(&d->advertise_ip, other_text, sizeof(other_text)),
				       d->hostname);
	}
	if (spec->gateway.len && !addr_contains(spec->subnet, &spec->gateway))
		return err_set(e, E_INVALID, "gateway %s is not within %s",
			       addr_format(&spec->gateway, other_text, sizeof(other_text)), text);
	return 0;
}

static int check_network_body(const struct store *s, const Gs__NetworkSpec *spec, struct err *e)
{
	if (*spec->driver && strcmp(spec->driver, "overlay") != 0)
		return err_set(e, E_INVALID, "unknown driver '%.40s': overlay is the only one", spec->driver);
	if (spec->gateway.len && !spec->subnet)
		return err_set(e, E_INVALID, "a gateway needs a --subnet");
	if (check_labels(spec->labels, spec->n_labels, "labels", e))
		return e->code;
	return spec->subnet ? check_subnet(s, spec, e) : 0;
}

int check_network(const struct store *s, const Gs__NetworkSpec *spec, struct err *e)
{
	const Gs__Network *net;

	if (check_name("network", spec->name, e))
		return e->code;
	for (size_t i = 0; (net = store_at(s, OBJ_NETWORK, i)); i++)
		if (strcmp(net->spec->name, spec->name) == 0)
			return err_set(e, E_EXISTS, "network %s exists already", spec->name);
	return check_network_body(s, spec, e) ? err_wrap(e, "network %s", spec->name) : 0;
}
