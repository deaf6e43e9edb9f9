// SPDX-License-Identifier: Apache-2.0
/* Rows that no service should have: a walk over all text fields by descriptor. The managers refuse such a service,
 * but a worker must outlive what an older manager or a damaged disk hands it. */
#include "worker/task/check.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/id.h"

/* The judge is who would have to write it down. */
static bool fits_json(const char *text)
{
	json_t *j = json_string(text);

	json_decref(j);
	return j;
}

static int message_check(const ProtobufCMessage *m, const char *path, struct err *e);

/* One value of a field: what is at value is a text or a message. */
static int value_check(const ProtobufCFieldDescriptor *f, const void *value, const char *path, struct err *e)
{
	char name[160];

	snprintf(name, sizeof(name), "%s%s%s", path, *path ? "." : "", f->name);
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return message_check(*(ProtobufCMessage *const *)value, name, e);
	if (*(char *const *)value && !fits_json(*(char *const *)value))
		return err_set(e, E_INVALID, "%s is not UTF-8 text", name);
	return 0;
}

static int field_check(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const char *path,
		       struct err *e)
{
	const char *at = (const char *)m + f->offset;
	size_t n;
	int rc = 0;

	if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
		return 0;
	bug_if(f->label == PROTOBUF_C_LABEL_REQUIRED);
	if (f->label != PROTOBUF_C_LABEL_REPEATED)
		return value_check(f, at, path, e);
	n = *(const size_t *)((const char *)m + f->quantifier_offset);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = value_check(f, *(void *const *const *)at + i, path, e);
	return rc;
}

static int message_check(const ProtobufCMessage *m, const char *path, struct err *e)
{
	int rc = 0;

	if (!m)
		return 0;
	for (unsigned i = 0; rc == 0 && i < m->descriptor->n_fields; i++)
		rc = field_check(m, &m->descriptor->fields[i], path, e);
	return rc;
}

/* It names a network namespace and stands in file names with a suffix. */
static bool is_file_name(const char *name)
{
	return *name != '\0' && *name != '.' && !strchr(name, '/') && strlen(name) < NAME_MAX - 32;
}

int task_row_check(const Gs__Task *row, struct err *e)
{
	if (!row->meta || !row->spec || !id_is_valid(row->meta->id))
		return err_set(e, E_INVALID, "the assignment has no id or no spec");
	if (!is_file_name(row->name))
		return err_set(e, E_INVALID, "the task's name cannot name a file");
	if (row->status && row->status->attempt > TASK_ATTEMPT_MAX)
		return err_set(e, E_INVALID, "status.attempt %u is none that a task comes to",
			       row->status->attempt);
	if (row->spec->n_args == 0 && row->topology != TOPO_GALERA)
		return err_set(e, E_INVALID, "there is no program to run");
	return message_check(&row->base, "", e);
}
