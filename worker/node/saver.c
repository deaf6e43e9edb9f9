// SPDX-License-Identifier: Apache-2.0
/* The membership to disk, beside the loop: a copy, a job, and again when it changed meanwhile. A failing disk is
 * logged, and tried again after a while or with the next change. */
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
	void (*cert_saved)(void *arg);
	void *arg;
	uint64_t again_ms;
	struct loop_timer again;
	bool busy, closing, timer_closed;
	unsigned waiting; /* what is to be written after the job */
	struct membership next;
};

struct save {
	struct saver *s;
	struct membership state;
	unsigned what;
	bool cert_written;
	struct err err;
};

static void save_work(void *arg)
{
	struct save *j = arg;
	struct saver *s = j->s;

	bug_if(!j->what || !j->state.is_member);
	pthread_mutex_lock(&s->mutex);
	if (!s->forbidden && (j->what & STATE_CERT))
		j->cert_written = membership_save_cert(s->dir, &j->state, &j->err) == 0;
	if (!s->forbidden && (j->what & STATE_JSON) && j->err.code == 0)
		membership_save_json(s->dir, &j->state, &j->err);
	pthread_mutex_unlock(&s->mutex);
}

static void saver_check_gone(struct saver *s)
{
	if (!s->closing || s->busy || s->waiting || !s->timer_closed)
		return;
	membership_fini(&s->next);
	pthread_mutex_destroy(&s->mutex);
	free(s->dir);
	magic_end(s);
	free(s);
}

static void save_next(struct saver *s);

/* With what has changed meanwhile, which is a copy of everything, or later. */
static void save_failed(struct saver *s, struct save *j)
{
	log_error("state of this node: %s; tried again in %d s", j->err.msg, (int)(s->again_ms / 1000));
	if (!s->waiting) {
		s->next = j->state;
		j->state = (struct membership){0};
		loop_timer_set(&s->again, s->again_ms);
	}
	s->waiting |= j->what;
}

static void save_back(void *arg)
{
	struct save *j = arg;
	struct saver *s = magic_of(struct saver, SAVER_MAGIC, j->s);
	bool is_last = j->cert_written && !(s->waiting & STATE_CERT), at_once = s->waiting != 0;

	bug_if(!s->busy);
	s->busy = false;
	if (j->err.code != 0 && s->closing)
		log_error("state of this node: %s", j->err.msg);
	else if (j->err.code != 0)
		save_failed(s, j);
	membership_fini(&j->state);
	free(j);
	if (at_once)
		save_next(s);
	if (is_last && s->cert_saved && !s->closing)
		s->cert_saved(s->arg);
	saver_check_gone(s);
}

static void on_again(void *arg)
{
	struct saver *s = magic_of(struct saver, SAVER_MAGIC, arg);

	if (s->waiting && !s->busy)
		save_next(s);
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
	loop_timer_stop(&s->again);
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
	if (s->waiting && !s->busy) { /* what failed, of a membership that is over */
		membership_fini(&s->next);
		s->waiting = 0;
		loop_timer_stop(&s->again);
	}
	forbidden_set(s, false);
}

struct saver *saver_new(uv_loop_t *loop, const char *dir, uint64_t again_ms)
{
	struct saver *s = xcalloc(1, sizeof(*s));

	magic_set(s, SAVER_MAGIC);
	s->loop = loop;
	s->dir = xstrdup(dir);
	s->again_ms = again_ms;
	pthread_mutex_init(&s->mutex, NULL);
	loop_timer_init(&s->again, loop, on_again, s);
	return s;
}

void saver_on_cert(struct saver *s, void (*saved)(void *arg), void *arg)
{
	bug_if(s->cert_saved);
	s->cert_saved = saved;
	s->arg = arg;
}

static void on_timer_closed(void *arg)
{
	struct saver *s = magic_of(struct saver, SAVER_MAGIC, arg);

	s->timer_closed = true;
	saver_check_gone(s);
}

void saver_free(struct saver *s)
{
	if (!s)
		return;
	bug_if(s->closing);
	s->closing = true;
	if (s->waiting && !s->busy)
		save_next(s);
	loop_timer_close(&s->again, on_timer_closed);
}
