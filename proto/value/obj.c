// SPDX-License-Identifier: Apache-2.0
/* Rows and messages over protobuf-c descriptors: made, copied, compared, packed, freed, whatever their type. A
 * message is malloc'ed, its strings too, and protobuf_c_message_free_unpacked frees it whole. Packing cannot fail
 * for a message that obj_new or unpack made. */
#include "proto/value/obj.h"

#include <string.h>

#include "base/bug.h"
#include "base/mem.h"

void *obj_new(const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = xmalloc(d->sizeof_message);

	d->message_init(m);
	return m;
}

void obj_free(void *message)
{
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}

static uint8_t *pack(const ProtobufCMessage *m, size_t *ret_len)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *data = xmalloc(len);

	*ret_len = protobuf_c_message_pack(m, data);
	bug_if(*ret_len != len);
	return data;
}

void *obj_dup(const void *message)
{
	const ProtobufCMessage *m = message;
	size_t len;
	cleanup_free uint8_t *data = pack(m, &len);
	void *copy = protobuf_c_message_unpack(m->descriptor, NULL, len, data);

	bug_if(!copy); /* what we have packed can be unpacked */
	return copy;
}

bool obj_equal(const void *a, const void *b)
{
	cleanup_free uint8_t *pa = NULL;
	cleanup_free uint8_t *pb = NULL;
	size_t na, nb;

	if (!a || !b)
		return a == b;
	if (((const ProtobufCMessage *)a)->descriptor != ((const ProtobufCMessage *)b)->descriptor)
		return false;
	pa = pack(a, &na);
	pb = pack(b, &nb);
	return na == nb && memcmp(pa, pb, na) == 0;
}

void obj_set(void *field_p, const void *value)
{
	void *copy = value ? obj_dup(value) : NULL;
	void *old;

	memcpy(&old, field_p, sizeof(old));
	memcpy(field_p, &copy, sizeof(copy));
	obj_free(old);
}

void obj_add_str(size_t *n, char ***list, const char *text)
{
	*list = xrealloc(*list, (*n + 1) * sizeof(char *));
	(*list)[(*n)++] = xstrdup(text);
}

void obj_add(size_t *n, void *list_p, void *take_message)
{
	void **list;

	bug_if(!take_message);
	memcpy(&list, list_p, sizeof(list));
	list = xrealloc(list, (*n + 1) * sizeof(void *));
	list[(*n)++] = take_message;
	memcpy(list_p, &list, sizeof(list));
}

void obj_bytes_set(ProtobufCBinaryData *field, const void *data, size_t len)
{
	uint8_t *copy = len ? xmemdup(data, len) : NULL;

	bug_if(len && data == field->data); /* it would be freed below */
	free(field->data);
	field->data = copy;
	field->len = len;
}

bool obj_bytes_equal(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* ---- rows ---- */

static const struct {
	const ProtobufCMessageDescriptor *descriptor;
	const char *name;
} kinds[OBJ_KINDS] = {
	[OBJ_CLUSTER] = {&gs__cluster__descriptor, "cluster"},
	[OBJ_NODE] = {&gs__node__descriptor, "node"},
	[OBJ_SERVICE] = {&gs__service__descriptor, "service"},
	[OBJ_SLOT] = {&gs__slot__descriptor, "slot"},
	[OBJ_TASK] = {&gs__task__descriptor, "task"},
	[OBJ_NETWORK] = {&gs__network__descriptor, "network"},
	[OBJ_ENDPOINT] = {&gs__endpoint__descriptor, "endpoint"},
	[OBJ_VOLUME] = {&gs__volume__descriptor, "volume"},
	[OBJ_SECRET] = {&gs__secret__descriptor, "secret"},
	[OBJ_CONFIG] = {&gs__config__descriptor, "config"},
	[OBJ_GALERA] = {&gs__galera_cluster__descriptor, "galera cluster"},
	[OBJ_VOLUME_INSTANCE] = {&gs__volume_instance__descriptor, "volume instance"},
	[OBJ_RESERVATION] = {&gs__reservation__descriptor, "reservation"},
	[OBJ_NODE_CERT] = {&gs__node_cert__descriptor, "node certificate"},
	[OBJ_EVENT] = {&gs__event__descriptor, "event"},
};

const ProtobufCMessageDescriptor *obj_descriptor(enum obj_kind kind)
{
	return kind > OBJ_NONE && kind < OBJ_KINDS ? kinds[kind].descriptor : NULL;
}

enum obj_kind obj_kind_of(const void *message)
{
	const ProtobufCMessage *m = message;

	for (int k = OBJ_NONE + 1; k < OBJ_KINDS; k++)
		if (m->descriptor == kinds[k].descriptor)
			return (enum obj_kind)k;
	return OBJ_NONE;
}

const char *obj_kind_name(enum obj_kind kind)
{
	return kind > OBJ_NONE && kind < OBJ_KINDS ? kinds[kind].name : "?";
}

/* Every row has Meta as its field 1, hence as the first member behind the protobuf-c base. */
struct any_row {
	ProtobufCMessage base;
	Gs__Meta *meta;
};

Gs__Meta *obj_meta(const void *row)
{
	return ((const struct any_row *)row)->meta;
}

uint64_t obj_content_version(const void *row)
{
	const Gs__Meta *meta = obj_meta(row);

	return meta->content_version ? meta->content_version : meta->version;
}

void *obj_new_row(enum obj_kind kind, const char *id)
{
	struct any_row *row;

	bug_if(!obj_descriptor(kind));
	row = obj_new(obj_descriptor(kind));

	row->meta = obj_new(&gs__meta__descriptor);
	row->meta->id = xstrdup(id);
	return row;
}

void *obj_unwrap(const Gs__StoreObject *o)
{
	/* All members of the oneof are pointers at the same place. */
	return o->kind_case == KIND_NOT_SET ? NULL : o->cluster;
}

void obj_wrap(Gs__StoreObject *ret, enum obj_kind kind, void *row)
{
	bug_if(row && obj_kind_of(row) != kind);
	gs__store_object__init(ret);
	ret->kind_case = (Gs__StoreObject__KindCase)kind;
	ret->cluster = row;
}

/* ---- names ---- */

const char *task_state_name(Gs__TaskState s)
{
	switch (s) {
	case TASK_NEW:
		return "New";
	case TASK_PENDING:
		return "Pending";
	case TASK_ASSIGNED:
		return "Assigned";
	case TASK_ACCEPTED:
		return "Accepted";
	case TASK_PREPARING:
		return "Preparing";
	case TASK_HELD:
		return "Held";
	case TASK_STARTING:
		return "Starting";
	case TASK_RUNNING:
		return "Running";
	case TASK_COMPLETE:
		return "Complete";
	case TASK_SHUTDOWN:
		return "Shutdown";
	case TASK_FAILED:
		return "Failed";
	case TASK_REJECTED:
		return "Rejected";
	case TASK_REMOVE:
		return "Remove";
	case TASK_ORPHANED:
		return "Orphaned";
	default:
		return "?";
	}
}

bool task_state_is_final(Gs__TaskState s)
{
	return s >= TASK_COMPLETE;
}

static const char *name_of(const char *const *names, size_t n, int value)
{
	return value >= 0 && (size_t)value < n ? names[value] : "?";
}

const char *node_state_name(Gs__NodeState s)
{
	static const char *const names[] = {"Unknown", "Ready", "Down"};

	return name_of(names, array_size(names), (int)s);
}

const char *availability_name(Gs__Availability a)
{
	static const char *const names[] = {"Active", "Pause", "Drain"};

	return name_of(names, array_size(names), (int)a);
}

const char *galera_phase_name(Gs__GaleraPhase p)
{
	static const char *const names[] = {"UNBORN",   "BOOTING", "FORMING",    "HEALTHY",
					    "DEGRADED", "NOPRIM",  "RECOVERING", "BLOCKED"};

	return name_of(names, array_size(names), (int)p);
}

const char *galera_class_name(Gs__GaleraClass c)
{
	static const char *const names[] = {"UNKNOWN", "EMPTY", "GENESIS", "CLEAN",
					    "CRASHED", "TORN",  "FOREIGN"};

	return name_of(names, array_size(names), (int)c);
}

const char *permit_mode_name(Gs__PermitMode m)
{
	static const char *const names[] = {"none", "genesis", "bootstrap", "join", "pc-bootstrap"};

	return name_of(names, array_size(names), (int)m);
}
