// SPDX-License-Identifier: Apache-2.0
/* The happy path is one durable file a change. What can fail is the disk: a file that cannot be read now may be read
 * later and says nothing about what it holds, so it is never taken for damage. Damaged is only what was read and
 * makes no sense. */
#include "worker/task/intent.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "worker/task/check.h"

#define TASK_MAX (1 << 20)

static int message_save(const char *dir, const char *name, const ProtobufCMessage *m, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	size_t len = protobuf_c_message_get_packed_size(m);
	cleanup_free uint8_t *data = xmalloc(len + 1);

	bug_if(protobuf_c_message_pack(m, data) != len);
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

	bug_if(attempt == 0);
	return fs_write(path, text, (size_t)n, 0600, e);
}

int intent_save_stopping(const char *run_dir, uint32_t attempt, int64_t kill_mono_ms, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/stopping", run_dir);
	char text[48];
	int n = snprintf(text, sizeof(text), "%u %" PRId64 "\n", attempt, kill_mono_ms);

	bug_if(attempt == 0 || kill_mono_ms <= 0);
	return fs_write(path, text, (size_t)n, 0600, e);
}

int64_t intent_load_stopping(const char *run_dir, uint32_t attempt)
{
	cleanup_free char *path = xasprintf("%s/stopping", run_dir);
	cleanup_free char *text = NULL;
	uint32_t number;
	int64_t kill_mono_ms;

	if (fs_read(path, 64, &text, NULL, NULL) < 0 ||
	    sscanf(text, "%" SCNu32 " %" SCNd64, &number, &kill_mono_ms) != 2 || number != attempt ||
	    kill_mono_ms <= 0)
		return 0;
	return kill_mono_ms;
}

void intent_drop_stopping(const char *run_dir)
{
	cleanup_free char *path = xasprintf("%s/stopping", run_dir);

	fs_unlink(path, NULL);
}

/* 0 and NULL when there is no such file or folder. *ret owned. */
static int note_read(const char *dir, const char *name, char **ret, size_t *ret_len, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	struct err why = {0};

	*ret = NULL;
	if (fs_read(path, TASK_MAX, ret, ret_len, &why) == 0 || why.code == -ENOENT)
		return 0;
	/* Whoever wrote more than we ever write has damaged it, and so has who made a folder of it. */
	if (why.code == -E2BIG || why.code == -EISDIR || why.code == -ENOTDIR)
		return err_set(e, E_CORRUPT, "%s/%s is damaged", dir, name);
	*e = why;
	return e->code;
}

static int task_load(const char *dir, Gs__Task **ret, struct err *e)
{
	cleanup_free char *data = NULL;
	const char *id = strrchr(dir, '/') ? strrchr(dir, '/') + 1 : dir;
	struct err why = {0};
	Gs__Task *row;
	size_t len;

	if (note_read(dir, "task.pb", &data, &len, e) < 0)
		return e->code;
	if (!data)
		return err_set(e, E_CORRUPT, "%s has no task.pb", dir);
	row = gs__task__unpack(NULL, len, (const uint8_t *)data);
	if (!row)
		err_set(&why, E_CORRUPT, "it is no message");
	else if (task_row_check(row, &why) == 0 && strcmp(row->meta->id, id) != 0)
		err_set(&why, E_CORRUPT, "it is another task's");
	if (why.code != 0) {
		obj_free(row);
		return err_set(e, E_CORRUPT, "%s/task.pb is damaged: %s", dir, why.msg);
	}
	*ret = row;
	return 0;
}

/* Absent: the first. */
static int attempt_load(const char *dir, uint32_t *ret, struct err *e)
{
	cleanup_free char *text = NULL;
	unsigned long n;
	size_t len;
	char *end;

	*ret = 1;
	if (note_read(dir, "attempt", &text, &len, e) < 0)
		return e->code;
	if (!text)
		return 0;
	n = strtoul(text, &end, 10);
	if (end == text || *end != '\n' || n == 0 || n > TASK_ATTEMPT_MAX)
		return err_set(e, E_CORRUPT, "%s/attempt is damaged", dir);
	*ret = (uint32_t)n;
	return 0;
}

/* A note that makes no sense still says that the task has ended: it must not run again. */
static int final_load(const char *dir, uint32_t attempt, Gs__TaskStatus **ret, struct err *e)
{
	cleanup_free char *data = NULL;
	Gs__TaskStatus *status;
	size_t len;

	*ret = NULL;
	if (note_read(dir, "final", &data, &len, e) < 0)
		return e->code;
	if (!data)
		return 0;
	status = gs__task_status__unpack(NULL, len, (const uint8_t *)data);
	if (!status || status->state <= TASK_RUNNING || status->attempt > TASK_ATTEMPT_MAX) {
		obj_free(status);
		status = obj_new(&gs__task_status__descriptor);
		status->state = TASK_FAILED;
		status->attempt = attempt;
		status->exit_code = -1;
		str_replace(&status->message, "it ended; the note of how is damaged");
	}
	*ret = status;
	return 0;
}

int intent_load(const char *task_dir, struct intent *ret, struct err *e)
{
	struct intent i = {0};

	if (task_load(task_dir, &i.task, e) < 0)
		return e->code;
	if (attempt_load(task_dir, &i.attempt, e) < 0 || final_load(task_dir, i.attempt, &i.final, e) < 0) {
		obj_free(i.task);
		return e->code;
	}
	*ret = i;
	return 0;
}
