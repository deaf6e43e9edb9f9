// SPDX-License-Identifier: Apache-2.0
/* The happy path is one durable file a change. What can fail is the disk, and a file cut short by hand: such
 * a task is treated as unknown and its processes are reaped. */
#include "worker/intent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"

#define TASK_MAX (1 << 20)

static int message_save(const char *dir, const char *name, const ProtobufCMessage *m, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	size_t len = protobuf_c_message_get_packed_size(m);
	cleanup_free uint8_t *data = xmalloc(len + 1);

	protobuf_c_message_pack(m, data);
	if (fs_mkdir(dir, 0700, e) < 0)
		return e->code;
	return fs_write(path, data, len, 0600, e);
}

int intent_save_task(const char *task_dir, const Gs__Task *task, struct err *e)
{
	return message_save(task_dir, "task.pb", &task->base, e);
}

int intent_save_final(const char *task_dir, const Gs__TaskStatus *status, struct err *e)
{
	return message_save(task_dir, "final", &status->base, e);
}

int intent_save_attempt(const char *task_dir, uint32_t attempt, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/attempt", task_dir);
	char text[16];
	int n = snprintf(text, sizeof(text), "%u\n", attempt);

	return fs_write(path, text, (size_t)n, 0600, e);
}

static void *message_load(const char *dir, const char *name, const ProtobufCMessageDescriptor *d)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	cleanup_free char *data = NULL;
	size_t len;

	if (fs_read(path, TASK_MAX, &data, &len, NULL) < 0)
		return NULL;
	return protobuf_c_message_unpack(d, NULL, len, (const uint8_t *)data);
}

int intent_load(const char *task_dir, struct intent *ret, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/attempt", task_dir);
	cleanup_free char *text = NULL;
	struct intent i = {.task = message_load(task_dir, "task.pb", &gs__task__descriptor), .attempt = 1};

	if (i.task == NULL || i.task->meta == NULL || i.task->spec == NULL) {
		obj_free(i.task);
		return err_set(e, E_CORRUPT, "%s/task.pb is damaged", task_dir);
	}
	if (fs_read(path, 64, &text, NULL, NULL) == 0)
		i.attempt = (uint32_t)strtoul(text, NULL, 10);
	if (i.attempt == 0)
		i.attempt = 1;
	i.final = message_load(task_dir, "final", &gs__task_status__descriptor);
	*ret = i;
	return 0;
}
