// SPDX-License-Identifier: Apache-2.0
/* The happy path is one write(2) of one line. A line that cannot be written is lost on purpose.
 *
 * With a writer lines go through a ring: whoever logs copies, the thread writes what has gathered. What can fail is a
 * reader that is too slow: it costs lines, never time. */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"
#include "base/text.h"

static struct {
	const char *program;
	enum log_level level;
	int fd;
} config = {"gswarm", LOG_INFO, 2};

#define RING (64u << 10)

static struct {
	bool runs;
	pthread_mutex_t mutex;
	pthread_cond_t filled, emptied;
	char *data;
	size_t begin, len; /* of what waits to be written */
	uint64_t lost;
} writer = {.mutex = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_init(const char *program, enum log_level level, int fd)
{
	config.program = program;
	config.level = level;
	config.fd = fd;
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
	for (int i = 0; i < 4; i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_level(enum log_level level)
{
	config.level = level;
}

/* ---- the writer ---- */

static void ring_copy(const char *line, size_t n)
{
	for (size_t i = 0; i < n; i++)
		writer.data[(writer.begin + writer.len + i) % RING] = line[i];
	writer.len += n;
	bug_if(writer.len > RING);
}

static void ring_put(const char *line, size_t n)
{
	pthread_mutex_lock(&writer.mutex);
	if (writer.len + n <= RING)
		ring_copy(line, n);
	else
		writer.lost++;
	pthread_cond_signal(&writer.filled);
	pthread_mutex_unlock(&writer.mutex);
}

/* Lock held; there is room again. */
static void lost_tell(void)
{
	char line[96];
	int n = snprintf(line, sizeof(line), "(%" PRIu64 " lines of this log are lost: nobody read it)\n",
			 writer.lost);

	if (writer.lost == 0 || writer.len + (size_t)n > RING)
		return;
	ring_copy(line, (size_t)n);
	writer.lost = 0;
}

/* One write(2) of what lies there in one piece. Lock held, but for the write. */
static void ring_write(void)
{
	size_t begin = writer.begin, n = writer.len < RING - begin ? writer.len : RING - begin;
	ssize_t done;

	pthread_mutex_unlock(&writer.mutex);
	poll(&(struct pollfd){.fd = config.fd, .events = POLLOUT}, 1, 1000);
	done = write(config.fd, writer.data + begin, n);
	pthread_mutex_lock(&writer.mutex);
	if (done > 0)
		n = (size_t)done;
	else if (errno == EINTR || errno == EAGAIN)
		n = 0; /* somebody made it non-blocking: poll waits for room */
	writer.begin = (writer.begin + n) % RING;
	writer.len -= n;
	lost_tell();
}

static void *writer_main(void *arg)
{
	pthread_mutex_lock(&writer.mutex);
	for (;;) {
		while (writer.len == 0) {
			pthread_cond_broadcast(&writer.emptied);
			pthread_cond_wait(&writer.filled, &writer.mutex);
		}
		ring_write();
	}
	return NULL;
}

static void flush_at_exit(void)
{
	log_flush(1000);
}

void log_start_writer(void)
{
	pthread_condattr_t clock;
	pthread_attr_t attr;
	pthread_t thread;

	bug_if(writer.runs);
	writer.data = xmalloc(RING);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&writer.emptied, &clock);
	pthread_condattr_destroy(&clock);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	writer.runs = pthread_create(&thread, &attr, writer_main, NULL) == 0; /* else as before, in place */
	pthread_attr_destroy(&attr);
	atexit(flush_at_exit);
}

void log_flush(unsigned ms)
{
	struct timespec until;

	if (!writer.runs)
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&writer.mutex);
	while (writer.len > 0 && pthread_cond_timedwait(&writer.emptied, &writer.mutex, &until) == 0)
		;
	pthread_mutex_unlock(&writer.mutex);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	char line[2048];
	struct timespec ts;
	struct tm tm;
	size_t n;
	int rc, saved = errno;
	va_list ap;

	if (level > config.level)
		return;
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ldZ %-5s %s ", ts.tv_nsec / 1000000,
			      level_names[level], config.program);
	va_start(ap, fmt);
	errno = saved;
	rc = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	if (rc > 0)
		n += (size_t)rc;
	if (n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n] = '\0';
	for (char *at = line; (at = strpbrk(at, "\n\t"));)
		*at = ' ';
	text_one_line(line); /* what a peer or a task has said may move the reader's terminal */
	n = strlen(line);
	line[n++] = '\n';
	if (writer.runs)
		ring_put(line, n);
	else if (write(config.fd, line, n) < 0)
		(void)0; /* as the head says */
	errno = saved;
}
