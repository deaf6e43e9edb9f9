// SPDX-License-Identifier: Apache-2.0
/* Helpers over the protobuf-c messages of objects.proto: copies, fields, addresses, names of states. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/value/addr.h"
#include "proto/schema/names.h"
#include "proto/schema/objects.pb-c.h"

/* Deep copy by pack and unpack; never NULL. Free with obj_free. */
void *obj_dup(const void *message);
void obj_free(void *message); /* NULL is fine */
static inline void obj_free_p(void *p)
{
	obj_free(*(void **)p);
}
/* Heap-allocated and initialised, every field at its default, free with obj_free:
 *   Gs__Node *n = obj_new(&gs__node__descriptor); */
void *obj_new(const ProtobufCMessageDescriptor *d);
/* Replace an owned sub-message by a copy of value (NULL: drop). */
void obj_set(void *field_p, const void *value);
bool obj_equal(const void *a, const void *b); /* same packed bytes; NULL equals NULL */
/* Append a copy of the string / the (taken) message to a repeated field: obj_add_str(&m->n_env, &m->env,
 * "K=V"). */
void obj_add_str(size_t *n, char ***list, const char *text);
/* list_p is the address of the repeated field's pointer; take_message must be of its type. */
void obj_add(size_t *n, void *list_p, void *take_message);
void obj_bytes_set(ProtobufCBinaryData *field, const void *data, size_t len); /* frees the old */
bool obj_bytes_equal(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b);

/* ---- the row behind any of the tables ---- */
enum obj_kind { /* equal to StoreObject's oneof case */
		OBJ_NONE = 0,
		OBJ_CLUSTER,
		OBJ_NODE,
		OBJ_SERVICE,
		OBJ_SLOT,
		OBJ_TASK,
		OBJ_NETWORK,
		OBJ_ENDPOINT,
		OBJ_VOLUME,
		OBJ_SECRET,
		OBJ_CONFIG,
		OBJ_GALERA,
		OBJ_VOLUME_INSTANCE,
		OBJ_RESERVATION,
		OBJ_NODE_CERT,
		OBJ_EVENT,
		OBJ_KINDS
};
/* NULL for OBJ_NONE and what is no kind. */
const ProtobufCMessageDescriptor *obj_descriptor(enum obj_kind kind);
enum obj_kind obj_kind_of(const void *message); /* by descriptor; OBJ_NONE if it is no row */
const char *obj_kind_name(enum obj_kind kind);  /* "node", "service" */
Gs__Meta *obj_meta(const void *row);            /* never NULL for a row made by obj_new_row or the store */
/* The raft index of the last change of what the row says: a TOUCH moves meta.version, not this. */
uint64_t obj_content_version(const void *row);
void *obj_new_row(enum obj_kind kind, const char *id); /* obj_new plus meta with this id */
/* The row inside a StoreObject (borrowed), and a StoreObject around a row (row borrowed: on the stack only). */
void *obj_unwrap(const Gs__StoreObject *o);
/* ret and row share the row: ret is never freed with obj_free. */
void obj_wrap(Gs__StoreObject *ret, enum obj_kind kind, void *row);

/* A task's attempts are counted from 1. A higher number in a report, a row or a note is refused where it comes in, so
 * that whoever counts on never comes to the end of its type. */
#define TASK_ATTEMPT_MAX (INT32_MAX - 1)

/* ---- names of states, as the CLI shows them ---- */
const char *task_state_name(Gs__TaskState s); /* "Running" */
bool task_state_is_final(Gs__TaskState s);    /* >= COMPLETE */
const char *node_state_name(Gs__NodeState s);
/* This and those below: "?" for a number that we do not know. */
const char *availability_name(Gs__Availability a);
/* As the CLI shows it, "UNBORN". */
const char *galera_phase_name(Gs__GaleraPhase p);
/* As the CLI shows it, "CRASHED". */
const char *galera_class_name(Gs__GaleraClass c);
/* As logs and events show it. */
const char *permit_mode_name(Gs__PermitMode m);
