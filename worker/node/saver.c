// SPDX-License-Identifier: Apache-2.0
/* The membership to disk, beside the loop: a copy, a job, and again when it changed meanwhile. A failing disk is
 * logged, and tried again with the next change. */
#include "worker/node/saver.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/node/membership_files.h"

#define SAVER_MAGIC MAGIC('s', 'a', 'v', 'e')

struct saver {
	uint32_t magic;
	uv_loop_t *loop;
	char *dir;
	pthread_mutex_t mutex; /* held while files are written */
	bool forbidden;        /* mutex */
	/* of the loop */
	bool busy, closing;
	unsigned waiting; /* what is to be written after the job */
	struct membership next;
};

struct save {
	struct saver *s;
	struct membership state;
	unsigned what;
	struct err err;
};

static void save_work(void *arg)
{
	struct save *j = arg;
	struct saver *s = j->s;

	bug_if(!j->what || !j->state.is_member);
	pthread_mutex_lock(&s->mutex);
	if (!s->forbidden && (j->what & STATE_CERT))
		membership_save_cert(s->dir, &j->state, &j->err);
	if (!s->forbidden && (j->what & STATE_JSON) && j->err.code == 0)
		membership_save_json(s->dir, &j->state, &j->err);
	pthread_mutex_unlock(&s->mutex);
}

static void saver_gone(struct saver *s)
{
	membership_fini(&s->next);
	pthread_mutex_destroy(&s->mutex);
	free(s->dir);
	magic_end(s);
	free(s);
}

static void save_next(struct saver *s);

static void save_back(void *arg)
{
	struct save *j = arg;
	struct saver *s = magic_of(struct saver, SAVER_MAGIC, j->s);

	bug_if(!s->busy);
	s->busy = false;
	if (j->err.code != 0)
		log_error("state of this node: %s", j->err.msg);
	membership_fini(&j->state);
	free(j);
	if (s->waiting)
		save_next(s);
	else if (s->closing)
		saver_gone(s);
}

static void save_next(struct saver *s)
{
	struct save *j = xcalloc(1, sizeof(*j));

	bug_if(s->busy || !s->waiting);
	j->s = s;
	j->state = s->next;
	j->what = s->waiting;
	s->next = (struct membership){0};
	s->waiting = 0;
	s->busy = true;
	loop_work(s->loop, save_work, save_back, j);
}

void saver_save(struct saver *s, const struct membership *state, unsigned what)
{
	bug_if_off_loop();
	bug_if(s->closing);
	membership_fini(&s->next);
	membership_dup(state, &s->next);
	s->waiting |= what;
	if (!s->busy)
		save_next(s);
}

static void forbidden_set(struct saver *s, bool value)
{
	pthread_mutex_lock(&s->mutex);
	s->forbidden = value;
	pthread_mutex_unlock(&s->mutex);
}

void saver_forbid(struct saver *s)
{
	forbidden_set(s, true);
}

void saver_allow(struct saver *s)
{
	bug_if_off_loop();
	forbidden_set(s, false);
}

struct saver *saver_new(uv_loop_t *loop, const char *dir)
{
	struct saver *s = xcalloc(1, sizeof(*s));

	magic_set(s, SAVER_MAGIC);
	s->loop = loop;
	s->dir = xstrdup(dir);
	pthread_mutex_init(&s->mutex, NULL);
	return s;
}

void saver_free(struct saver *s)
{
	if (!s)
		return;
	bug_if(s->closing);
	s->closing = true;
	if (!s->busy)
		saver_gone(s);
}
