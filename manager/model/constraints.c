// SPDX-License-Identifier: Apache-2.0
/* Placement constraints: "node.role==manager", "node.labels.rack!=a", "node.ip==10.0.0.0/8".
 *
 * The happy path is: every expression holds for the node. What can fail is an expression that cannot be read;
 * Control refuses those at create, and here one matches no node. */
#include <stdio.h>

#include "base/bug.h"
#include "base/mem.h"
#include "manager/model/rows.h"

static const char *label_value(const Gs__Node *n, const char *key)
{
	for (size_t i = 0; n->spec && i < n->spec->n_labels; i++)
		if (strcmp(n->spec->labels[i]->key, key) == 0)
			return n->spec->labels[i]->value;
	return "";
}

/* NULL: no such key. */
static const char *node_value(const Gs__Node *n, const char *key)
{
	const Gs__NodeDescription *d = n->description;

	if (strcmp(key, "node.id") == 0)
		return n->meta->id;
	if (strcmp(key, "node.hostname") == 0)
		return d ? d->hostname : "";
	if (strcmp(key, "node.role") == 0)
		return n->spec && n->spec->role == ROLE_MANAGER ? "manager" : "worker";
	if (strcmp(key, "node.platform.os") == 0)
		return d ? d->platform_os : "";
	if (strcmp(key, "node.platform.arch") == 0)
		return d ? d->platform_arch : "";
	if (strncmp(key, "node.labels.", 12) == 0)
		return label_value(n, key + 12);
	return NULL;
}

static bool ip_equals(const Gs__Node *n, const char *text)
{
	Gs__Addr *net = NULL;
	ProtobufCBinaryData ip = {0};
	bool same = false;

	if (!n->description)
		return false;
	if (strchr(text, '/')) {
		if (addr_parse_cidr(text, &net, NULL) == 0)
			same = addr_contains(net, &n->description->advertise_ip);
		obj_free(net);
	} else if (addr_parse(text, &ip, NULL) == 0) {
		same = obj_bytes_equal(&ip, &n->description->advertise_ip);
		free(ip.data);
	}
	return same;
}

static char *trimmed(const char *from, size_t len)
{
	char *s;

	while (len > 0 && *from == ' ')
		from++, len--;
	while (len > 0 && from[len - 1] == ' ')
		len--;
	s = xcalloc(1, len + 1);
	memcpy(s, from, len);
	return s;
}

static bool constraint_matches(const char *text, const Gs__Node *n)
{
	const char *eq = strstr(text, "=="), *ne = strstr(text, "!=");
	const char *op = !eq ? ne : !ne ? eq : eq < ne ? eq : ne;
	cleanup_free char *key = NULL;
	cleanup_free char *want = NULL;
	const char *value;
	bool equal;

	if (!op)
		return false;
	bug_if(op < text);
	key = trimmed(text, (size_t)(op - text));
	want = trimmed(op + 2, strlen(op + 2));
	if (strcmp(key, "node.ip") == 0) {
		equal = ip_equals(n, want);
	} else {
		value = node_value(n, key);
		if (!value)
			return false;
		equal = strcmp(value, want) == 0;
	}
	return equal == (*op == '=');
}

bool constraints_match(const Gs__ServiceSpec *spec, const Gs__Node *n)
{
	for (size_t i = 0; i < spec->n_constraints; i++)
		if (!constraint_matches(spec->constraints[i], n))
			return false;
	return true;
}
