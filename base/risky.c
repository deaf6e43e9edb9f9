// SPDX-License-Identifier: Apache-2.0
/* The happy path: a job is queued, a thread takes the first one whose key is free, runs it, and an async wakes the
 * loop for done. What can fail is the work, by not coming back: its timer tells done without it, and the thread stays
 * with the job. A thread that cannot be made leaves its job in the queue: a running one takes it, or its deadline
 * ends it. */
#include "base/risky.h"

#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/gap.h"
#include "base/loop.h"
#include "base/mem.h"

#define STACK_BYTES (256 << 10)
#define JOB_MAGIC MAGIC('r', 'i', 's', 'k')

enum where { WAITING, WORKING, WORKED };

struct job {
	uint32_t magic;
	struct job *prev, *next;
	struct risky *r;
	char *key;
	struct risky_job told;
	enum where where; /* under the mutex */
	bool late;        /* done was told without it; the loop's */
	struct loop_timer deadline;
};

struct risky {
	uv_loop_t *loop;
	uv_async_t async;
	pthread_mutex_t mutex;
	struct job *jobs; /* in the order they came; the list and each `where` are under the mutex */
	struct risky_threads config;
	unsigned threads, refs;
	bool closing;
};

static void job_free(struct job *j)
{
	magic_end(j);
	free(j->key);
	free(j);
}

/* Under the mutex. Takes the mutex with it into the grave when it was the last. */
static void unref_unlock(struct risky *r)
{
	bool last = --r->refs == 0;

	pthread_mutex_unlock(&r->mutex);
	if (!last)
		return;
	pthread_mutex_destroy(&r->mutex);
	while (r->jobs) { /* no thread works on one and its timer is closed: both held a reference */
		struct job *j = r->jobs;

		dl_drop(r->jobs, j);
		job_free(j);
	}
	if (r->config.gone)
		r->config.gone(r->config.arg);
	free(r);
}

/* Under the mutex. */
static bool key_is_busy(const struct risky *r, const char *key)
{
	const struct job *j;

	DL_FOREACH (r->jobs, j)
		if (j->where == WORKING && strcmp(j->key, key) == 0)
			return true;
	return false;
}

/* Under the mutex. The first that may run, NULL: none. */
static struct job *runnable(struct risky *r)
{
	struct job *j;

	DL_FOREACH (r->jobs, j)
		if (j->where == WAITING && !key_is_busy(r, j->key))
			return j;
	return NULL;
}

static void *thread_main(void *arg)
{
	struct risky *r = arg;
	struct job *j;
	bool ready;

	prctl(PR_SET_NAME, "risky");
	bug_job_begin();
	ready = !r->config.begin || r->config.begin(r->config.arg) == 0;
	pthread_mutex_lock(&r->mutex);
	while (ready && !r->closing && (j = runnable(r))) {
		j->where = WORKING;
		pthread_mutex_unlock(&r->mutex);
		j->told.work(j->told.arg);
		pthread_mutex_lock(&r->mutex);
		j->where = WORKED;
		if (!r->closing)
			uv_async_send(&r->async);
	}
	r->threads--;
	unref_unlock(r);
	return NULL;
}

/* Under the mutex. One more thread, when there is something for it to do. */
static void thread_start(struct risky *r)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (r->threads == r->config.max || !runnable(r))
		return;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, thread_main, r) == 0) {
		r->threads++;
		r->refs++;
	}
	pthread_attr_destroy(&attr);
}

static void on_deadline_closed(void *arg)
{
	job_free(magic_of(struct job, JOB_MAGIC, arg));
}

/* It is back, or was never begun: nobody else knows it now. */
static void job_end(struct job *j)
{
	struct risky *r = j->r;

	pthread_mutex_lock(&r->mutex);
	bug_if(j->where == WORKING);
	dl_drop(r->jobs, j);
	if (!r->jobs)
		uv_unref((uv_handle_t *)&r->async);
	thread_start(r); /* its key is free */
	pthread_mutex_unlock(&r->mutex);
	if (j->late)
		j->told.drop(j->told.arg);
	else
		j->told.done(j->told.owner, j->told.arg);
	loop_timer_close(&j->deadline, on_deadline_closed);
}

static struct job *worked(struct risky *r)
{
	struct job *j;

	pthread_mutex_lock(&r->mutex);
	DL_FOREACH (r->jobs, j)
		if (j->where == WORKED)
			break;
	pthread_mutex_unlock(&r->mutex);
	return j;
}

static void on_async(uv_async_t *async)
{
	LOOP_SCOPE();
	struct risky *r = async->data;
	struct job *j;

	while (!r->closing && (j = worked(r)))
		job_end(j);
}

static void on_deadline(void *arg)
{
	struct job *j = magic_of(struct job, JOB_MAGIC, arg);
	struct risky *r = j->r;
	enum where where;

	bug_if(j->late);
	pthread_mutex_lock(&r->mutex);
	where = j->where;
	if (where == WAITING)
		j->where = WORKED; /* no thread takes it any more */
	pthread_mutex_unlock(&r->mutex);
	if (where == WORKED)
		return; /* the async is on its way */
	j->late = true;
	j->told.done(j->told.owner, NULL);
	if (where == WAITING)
		job_end(j);
}

struct risky *risky_new(uv_loop_t *loop, const struct risky_threads *threads)
{
	struct risky *r = xcalloc(1, sizeof(*r));

	bug_if(threads->max == 0);
	r->loop = loop;
	r->config = *threads;
	r->refs = 1;
	pthread_mutex_init(&r->mutex, NULL);
	uv_async_init(loop, &r->async, on_async);
	uv_unref((uv_handle_t *)&r->async);
	r->async.data = r;
	return r;
}

void risky_run(struct risky *r, const struct risky_job *job)
{
	struct job *j = xcalloc(1, sizeof(*j));

	bug_if_off_loop();
	bug_if(r->closing || !job->work || !job->done || !job->drop);
	magic_set(j, JOB_MAGIC);
	j->r = r;
	j->told = *job;
	j->key = xstrdup(job->key);
	loop_timer_init(&j->deadline, r->loop, on_deadline, j);
	if (job->deadline_ms != 0)
		loop_timer_set(&j->deadline, job->deadline_ms);
	uv_ref((uv_handle_t *)&r->async); /* the loop lives as long as something may answer */
	pthread_mutex_lock(&r->mutex);
	dl_add(r->jobs, j);
	thread_start(r);
	pthread_mutex_unlock(&r->mutex);
}

static void on_async_closed(uv_handle_t *h)
{
	struct risky *r = h->data;

	pthread_mutex_lock(&r->mutex);
	unref_unlock(r);
}

static void on_deadline_given_up(void *arg)
{
	struct job *j = magic_of(struct job, JOB_MAGIC, arg);

	pthread_mutex_lock(&j->r->mutex);
	unref_unlock(j->r);
}

void risky_free(struct risky *r)
{
	struct job *j;

	if (!r)
		return;
	pthread_mutex_lock(&r->mutex);
	r->closing = true;
	DL_FOREACH (r->jobs, j) {
		r->refs++;
		loop_timer_close(&j->deadline, on_deadline_given_up);
	}
	pthread_mutex_unlock(&r->mutex);
	uv_close((uv_handle_t *)&r->async, on_async_closed);
}
