// SPDX-License-Identifier: Apache-2.0
/* What a person may ask for: specs of services, networks and the cluster, before any of it is in a tx. Each
 * refusal names the object, the value and the way out, and nothing has changed by then. */
#include "manager/model/check.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "base/text.h"
#include "manager/model/check_task.h"
#include "manager/model/pool.h"
#include "manager/model/rows.h"
#include "proto/value/addr.h"

#define NAME_MAX_LEN 63
#define REPLICAS_MAX 1000u
#define LIST_MAX 256u
#define ALIASES_MAX 64u
#define LABELS_MAX_BYTES (64u << 10)
/* Each task carries a copy, and a commit of many rows is split at 1 MiB: a spec must be far below. */
#define SPEC_MAX_BYTES (256u << 10)
#define POOL_MASK 24u

/* marks: what may stand behind its first letter or digit, and how a person is told of it. */
static int check_word(const char *what, const char *name, const char *marks, const char *told, struct err *e)
{
	size_t n = strlen(name);

	bug_if(!what || !*what);
	if (n == 0)
		return err_set(e, E_INVALID, "%s has no name", what);
	if (n > NAME_MAX_LEN)
		return err_set(e, E_INVALID, "%s name '%.20s...' is longer than %d characters", what, name,
			       NAME_MAX_LEN);
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && (i == 0 || !strchr(marks, name[i])))
			return err_set(e, E_INVALID,
				       "%s name '%s' must begin with a letter or digit and hold only "
				       "letters, digits, %s",
				       what, name, told);
	return 0;
}

int check_name(const char *what, const char *name, struct err *e)
{
	return check_word(what, name, "_.-", "'_', '.' and '-'", e);
}

/* "db.1" is the name of a member of db, in /etc/hosts and in 'service logs'. */
static int check_service_name(const char *name, struct err *e)
{
	if (strchr(name, '.'))
		return err_set(e, E_INVALID,
			       "service name '%.70s' holds a dot, which stands between a service and its "
			       "task's number: use '-' or '_'",
			       name);
	return check_word("service", name, "_-", "'_' and '-'", e);
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

#define RESERVED_HINT                                                                                        \
	"is reserved (loopback, link-local, multicast ...): choose another one, like 10.20.0.0/16"

/* RFC 6890: what never is a host's own unicast address on a network. */
static bool is_reserved(const Gs__Addr *subnet)
{
	static const char *const blocks[] = {"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"};
	bool hit = false;

	for (size_t i = 0; i < array_size(blocks) && !hit; i++) {
		Gs__Addr *block = NULL;

		hit = addr_parse_cidr(blocks[i], &block, NULL) == 0 && addr_overlaps(block, subnet);
		obj_free(block);
	}
	return hit;
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
	if (pool && (pool->ip.len != 4 || pool->prefix < 8 || pool->prefix > (mask ? mask : POOL_MASK)))
		rc = err_set(e, E_INVALID, "'%s' holds no IPv4 subnet with a prefix of 8 to %u",
			     spec->default_addr_pool, mask ? mask : POOL_MASK);
	else if (pool && is_reserved(pool))
		rc = err_set(e, E_INVALID, "%s " RESERVED_HINT, spec->default_addr_pool);
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
	DEFAULT(default_addr_pool_mask, POOL_MASK);
	DEFAULT(data_path_port, DATA_PATH_PORT);
	if (!*spec->default_addr_pool)
		str_replace(&spec->default_addr_pool, "10.0.0.0/8");
}

/* With blanks behind it, perhaps. */
static bool is_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	return strncmp(text, word, n) == 0 && strspn(text + n, " ") == strlen(text + n);
}

static int check_constraint_value(const char *text, const char *key, const char *value, struct err *e)
{
	ProtobufCBinaryData ip = {0};
	Gs__Addr *net = NULL;
	struct err local = {0};
	int rc = 0;

	value += strspn(value, " ");
	if (strcmp(key, "node.role") == 0 && !is_word(value, "manager") && !is_word(value, "worker"))
		return err_set(e, E_INVALID, "constraint '%.80s': a role is manager or worker", text);
	if (strcmp(key, "node.ip") == 0)
		rc = strchr(value, '/') ? addr_parse_cidr(value, &net, &local)
					: addr_parse(value, &ip, &local);
	obj_free(net);
	free(ip.data);
	return rc ? err_set(e, E_INVALID, "constraint '%.80s': node.ip is an address or a subnet", text) : 0;
}

int check_constraint(const char *text, struct err *e)
{
	static const char *const keys[] = {"node.id", "node.hostname",    "node.role",
					   "node.ip", "node.platform.os", "node.platform.arch"};
	const char *eq = strstr(text, "=="), *ne = strstr(text, "!=");
	const char *op = !eq || (ne && ne < eq) ? ne : eq;
	char key[256];
	size_t n;

	if (!op || strlen(text) > 255 || !text_is_plain(text))
		return err_set(e, E_INVALID, "constraint '%.80s' is not KEY==VALUE or KEY!=VALUE", text);
	n = (size_t)(op - text);
	while (n > 0 && text[n - 1] == ' ')
		n--;
	snprintf(key, sizeof(key), "%.*s", (int)n, text);
	if (strncmp(key, "node.labels.", 12) == 0 && key[12])
		return 0;
	for (size_t i = 0; i < array_size(keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return check_constraint_value(text, key, op + 2, e);
	return err_set(e, E_INVALID,
		       "constraint '%.80s': unknown key '%.60s' (node.id, node.hostname, node.role, node.ip, "
		       "node.platform.os, node.platform.arch, node.labels.NAME)",
		       text, key);
}

int check_labels(Gs__Label *const *labels, size_t n, const char *what, struct err *e)
{
	size_t bytes = 0;

	bug_if(n && !labels);
	if (n > LIST_MAX)
		return err_set(e, E_LIMIT, "%s: more than %u labels", what, LIST_MAX);
	for (size_t i = 0; i < n; i++) {
		const char *key = labels[i]->key, *value = labels[i]->value;

		if (!*key || strlen(key) > 128 || strlen(value) > 4096)
			return err_set(e, E_INVALID,
				       "%s: label '%.40s' is empty or too long (128 and 4096 bytes)", what,
				       key);
		if (!text_is_plain(key) || !text_is_plain(value))
			return err_set(e, E_INVALID,
				       "%s: label '%.40s=%.40s' has a control character or is not UTF-8",
				       what, key, value);
		bytes += strlen(key) + strlen(value);
	}
	return bytes > LABELS_MAX_BYTES ? err_set(e, E_LIMIT, "%s: labels of %zu KiB; the limit is %u", what,
						  bytes >> 10, LABELS_MAX_BYTES >> 10)
					: 0;
}

const char *env_find(char *const *env, size_t n, const char *key)
{
	size_t len = strlen(key);

	bug_if(!len || strchr(key, '='));
	for (size_t i = 0; i < n; i++)
		if (strncmp(env[i], key, len) == 0 && env[i][len] == '=')
			return env[i] + len + 1;
	return NULL;
}

/* ---- services ---- */

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
		if (t->networks[i]->n_aliases > ALIASES_MAX)
			return err_set(e, E_LIMIT, "network %s: more than %u aliases", net->spec->name,
				       ALIASES_MAX);
		for (size_t k = 0; k < t->networks[i]->n_aliases; k++)
			if (check_name("alias", t->networks[i]->aliases[k], e))
				return e->code;
	}
	return 0;
}

static bool same_port(const Gs__Port *a, const Gs__Port *b)
{
	return a->published == b->published && strcmp(a->protocol, b->protocol) == 0;
}

/* The service that has published the port already, or NULL. */
static const Gs__Service *port_owner(const struct store *s, const Gs__ServiceSpec *spec, const Gs__Port *p)
{
	const Gs__Service *other;

	for (size_t k = 0; (other = store_at(s, OBJ_SERVICE, k)); k++)
		for (size_t q = 0; q < other->spec->n_ports; q++)
			if (other->spec->ports[q]->published == p->published &&
			    strcmp(other->spec->name, spec->name) != 0)
				return other;
	return NULL;
}

static int check_port(const struct store *s, const Gs__ServiceSpec *spec, size_t i, struct err *e)
{
	const Gs__Port *p = spec->ports[i];
	const Gs__Service *other = p->published ? port_owner(s, spec, p) : NULL;

	bug_if(i >= spec->n_ports);
	if (p->target == 0 || p->target > 65535 || p->published > 65535)
		return err_set(e, E_INVALID, "port %u:%u is out of range", p->published, p->target);
	if (strcmp(p->protocol, "tcp") && strcmp(p->protocol, "udp"))
		return err_set(e, E_INVALID, "port %u: protocol '%.20s' is none of tcp, udp", p->target,
			       p->protocol);
	if (strcmp(p->mode, "ingress") && strcmp(p->mode, "host"))
		return err_set(e, E_INVALID, "port %u: mode '%.20s' is none of ingress, host", p->target,
			       p->mode);
	for (size_t k = 0; p->published && k < i; k++)
		if (same_port(spec->ports[k], p))
			return err_set(e, E_INVALID, "port %u/%s is published twice", p->published,
				       p->protocol);
	return other ? err_set(e, E_IN_USE, "port %u is published by service %s already", p->published,
			       other->spec->name)
		     : 0;
}

static int check_ports(const struct store *s, const Gs__ServiceSpec *spec, struct err *e)
{
	if (spec->n_ports > LIST_MAX)
		return err_set(e, E_LIMIT, "more than %u ports", LIST_MAX);
	for (size_t i = 0; i < spec->n_ports; i++)
		if (check_port(s, spec, i, e))
			return e->code;
	return 0;
}

static bool one_of(const char *value, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(value, list[i]) == 0)
			return true;
	return *value == '\0';
}

/* NAME|UID[:GROUP|GID] */
static bool is_root(const char *user)
{
	size_t len = strcspn(user, ":");

	return (len == 4 && strncmp(user, "root", 4) == 0) || (len > 0 && strspn(user, "0") == len);
}

static bool stops_orderly(const char *signal)
{
	return !*signal || strcmp(signal, "TERM") == 0 || strcmp(signal, "SIGTERM") == 0 ||
	       strcmp(signal, "15") == 0;
}

/* What would be stored and never done, or never start. */
static int check_galera_task(const Gs__TaskSpec *t, struct err *e)
{
	if (t->n_args)
		return err_set(
			e, E_INVALID,
			"a Galera member runs the image's own server: leave '%.40s' and all behind it away",
			t->args[0]);
	if (t->restart != RESTART_ANY)
		return err_set(e, E_INVALID,
			       "a Galera member that ended is always started again: --restart-condition must "
			       "be any");
	if (!stops_orderly(t->stop_signal))
		return err_set(
			e, E_INVALID,
			"a Galera member shuts down in an orderly way by SIGTERM only: leave --stop-signal "
			"%.20s away",
			t->stop_signal);
	if (is_root(t->user))
		return err_set(
			e, E_INVALID,
			"a Galera member cannot run as root, its server refuses to: leave --user %.20s away",
			t->user);
	for (size_t i = 0; i < t->n_mounts; i++)
		if (strcmp(t->mounts[i]->target, "/var/lib/mysql") == 0 &&
		    (t->mounts[i]->type != MOUNT_VOLUME || t->mounts[i]->readonly))
			return err_set(e, E_INVALID,
				       "a Galera member keeps its data in a volume: the mount on "
				       "/var/lib/mysql must be "
				       "type=volume and writable");
	return 0;
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
	if (check_galera_task(spec->task, e))
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

static int check_placement(const Gs__ServiceSpec *spec, struct err *e)
{
	if (spec->n_constraints > LIST_MAX)
		return err_set(e, E_LIMIT, "more than %u constraints", LIST_MAX);
	for (size_t i = 0; i < spec->n_constraints; i++)
		if (check_constraint(spec->constraints[i], e))
			return e->code;
	if (spec->mode > MODE_GLOBAL)
		return err_set(e, E_INVALID, "unknown mode");
	if (spec->mode == MODE_REPLICATED && spec->replicas > REPLICAS_MAX)
		return err_set(e, E_LIMIT, "%u replicas; the limit is %u", spec->replicas, REPLICAS_MAX);
	return 0;
}

static int check_service_body(const struct store *s, Gs__ServiceSpec *spec, struct err *e)
{
	static const char *const modes[] = {"vip", "dnsrr"};
	Gs__TaskSpec *t = spec->task;

	if (!t)
		return err_set(e, E_INVALID, "no image given");
	if (check_task(t, e) || check_labels(spec->labels, spec->n_labels, "labels", e) ||
	    resolve_networks(s, t, e) || check_ports(s, spec, e) || check_placement(spec, e))
		return e->code;
	if (!one_of(spec->endpoint_mode, modes, array_size(modes)))
		return err_set(e, E_INVALID, "unknown endpoint mode '%.40s' (vip, dnsrr)",
			       spec->endpoint_mode);
	if (protobuf_c_message_get_packed_size(&spec->base) > SPEC_MAX_BYTES)
		return err_set(e, E_LIMIT, "the spec has %zu KiB; the limit is %u",
			       protobuf_c_message_get_packed_size(&spec->base) >> 10, SPEC_MAX_BYTES >> 10);
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
	bug_if(!s || !e);
	if (*spec->name && check_service_name(spec->name, e))
		return e->code;
	if (!check_service_body(s, spec, e))
		return 0;
	return *spec->name ? err_wrap(e, "service %s", spec->name) : e->code;
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

/* A member's data binds its slot to a node. */
static bool has_member(const struct store *s, const char *service_id, const Gs__Node *n)
{
	const Gs__Slot *const *slots;
	size_t n_slots = *service_id ? store_slots_of_service(s, service_id, &slots) : 0;

	for (size_t i = 0; i < n_slots; i++)
		if (strcmp(slots[i]->preferred_node, n->meta->id) == 0 ||
		    strcmp(slots[i]->node_key, n->meta->id) == 0)
			return true;
	return false;
}

int check_galera_nodes(const struct store *s, const char *service_id, const Gs__ServiceSpec *spec,
		       uint32_t replicas, int64_t now_ms, struct err *e)
{
	char why[160] = "", one[120];
	const Gs__Node *n;
	uint32_t ready = 0, bound = 0;

	bug_if(spec->topology != TOPO_GALERA);
	for (size_t i = 0; (n = store_at(s, OBJ_NODE, i)); i++) {
		if (!why_not(s, spec, n, now_ms, one, sizeof(one)))
			ready++;
		else if (has_member(s, service_id, n))
			bound++;
		else if (strlen(why) + strlen(one) + 4 < sizeof(why))
			snprintf(why + strlen(why), sizeof(why) - strlen(why), "%s%s", *why ? ", " : "", one);
	}
	bug_if(ready + bound > store_count(s, OBJ_NODE));
	if (replicas <= ready + bound)
		return 0;
	return err_set(e, E_LIMIT, "%u replica%s need%s %u node%s, %u %s ready%s%s%s%s", replicas,
		       replicas == 1 ? "" : "s", replicas == 1 ? "s" : "", replicas, replicas == 1 ? "" : "s",
		       ready + bound, ready + bound == 1 ? "is" : "are",
		       bound ? " or taken by a member of it" : "", *why ? " (" : "", why, *why ? ")" : "");
}

/* ---- networks ---- */

static int check_gateway(const Gs__NetworkSpec *spec, const char *subnet, struct err *e)
{
	uint8_t net[4], last[4];
	char text[64];

	if (!spec->gateway.len)
		return 0;
	addr_format(&spec->gateway, text, sizeof(text));
	if (!addr_contains(spec->subnet, &spec->gateway))
		return err_set(e, E_INVALID, "gateway %s is not within %s", text, subnet);
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t bits = spec->subnet->prefix > 8 * i ? spec->subnet->prefix - 8 * i : 0;
		uint8_t host = (uint8_t)(bits >= 8 ? 0 : 0xff >> bits);

		net[i] = (uint8_t)(spec->subnet->ip.data[i] & ~host);
		last[i] = spec->subnet->ip.data[i] | host;
	}
	if (memcmp(spec->gateway.data, net, 4) == 0 || memcmp(spec->gateway.data, last, 4) == 0)
		return err_set(e, E_INVALID, "gateway %s is the %s address of %s: choose one between", text,
			       memcmp(spec->gateway.data, net, 4) ? "broadcast" : "network", subnet);
	return 0;
}

static int check_subnet(const struct store *s, const Gs__NetworkSpec *spec, struct err *e)
{
	char text[64], other_text[64];
	const Gs__Network *net;
	const Gs__Node *node;

	addr_format_cidr(spec->subnet, text, sizeof(text));
	if (spec->subnet->ip.len != 4 || spec->subnet->prefix < 8 || spec->subnet->prefix > 29)
		return err_set(e, E_INVALID, "subnet %s: IPv4 with a prefix of 8 to 29 is needed", text);
	if (is_reserved(spec->subnet))
		return err_set(e, E_INVALID, "subnet %s " RESERVED_HINT, text);
	if (subnet_is_hosts(s, spec->subnet))
		return err_set(
			e, E_INVALID,
			"subnet %s touches the last sixteenth of the address pool %s, which hosts use for "
			"their tasks' way out: choose another one",
			text, subnet_pool(s));
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
	return check_gateway(spec, text, e);
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

	bug_if(!s || !e);
	if (check_name("network", spec->name, e))
		return e->code;
	for (size_t i = 0; (net = store_at(s, OBJ_NETWORK, i)); i++)
		if (strcmp(net->spec->name, spec->name) == 0)
			return err_set(e, E_EXISTS, "network %s exists already", spec->name);
	return check_network_body(s, spec, e) ? err_wrap(e, "network %s", spec->name) : 0;
}
