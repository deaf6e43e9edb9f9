// SPDX-License-Identifier: Apache-2.0
/* Reading a task's log: records, lines, files.
 *
 * The happy path is: open log.1 and log, find where the wanted lines begin, read on in pieces, join
 * parts, give lines. What can fail is a file that is not there and the disk; a record that cannot be read
 * is left out.
 *
 * Of two files the older one is read to its end first:
 *
 *   log.1 [.............] log [.......|  conmon writes here
 *          ^ at                       ^ end (not following)
 *
 * While following, "log" may become "log.1" at any time. conmon goes on writing to the renamed file until
 * it has made the new one; so the old one is read once more after the new one was seen, and only then
 * left. */
#include "worker/runtime/conmon_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"

#define PIECE (64u << 10)

/* ---- records ---- */

static bool two_digits(const char *p, int *ret)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*ret = (p[0] - '0') * 10 + p[1] - '0';
	return true;
}

/* RFC 3339: date, 'T', time, fraction of up to nine digits, offset. */
static bool time_parse(const char *text, int64_t *ret_ns)
{
	struct tm tm = {0};
	int64_t ns = 0, scale = 100000000;
	int hours = 0, minutes = 0;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
		   &tm.tm_min, &tm.tm_sec) != 6 ||
	    strlen(text) < 19)
		return false;
	text += 19;
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9'; text++, scale /= 10)
			ns += (*text - '0') * scale;
	if ((*text == '+' || *text == '-') && strlen(text) == 6 &&
	    (!two_digits(text + 1, &hours) || !two_digits(text + 4, &minutes)))
		return false;
	if (*text == '-') {
		hours = -hours;
		minutes = -minutes;
	}
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_ns = ((int64_t)timegm(&tm) - hours * 3600 - minutes * 60) * 1000000000 + ns;
	return true;
}

bool conmon_record_parse(const char *line, size_t len, struct conmon_record *ret)
{
	char time[48];
	const char *space = memchr(line, ' ', len), *end = line + len, *rest;
	bool is_stderr;

	if (!space || (size_t)(space - line) >= sizeof(time) || end - space < 9)
		return false;
	memcpy(time, line, (size_t)(space - line));
	time[space - line] = '\0';
	is_stderr = memcmp(space, " stderr ", 8) == 0;
	rest = space + 8;
	if ((!is_stderr && memcmp(space, " stdout ", 8) != 0) || (*rest != 'F' && *rest != 'P') ||
	    (rest + 1 < end && rest[1] != ' ') || !time_parse(time, &ret->time_ns))
		return false;
	ret->is_stderr = is_stderr;
	ret->is_part = *rest == 'P';
	ret->text = rest + 2 < end ? rest + 2 : end;
	ret->len = (size_t)(end - ret->text);
	return true;
}

/* ---- joining ---- */

static void line_end(struct conmon_join *j, bool is_stderr, conmon_line_cb on_line, void *arg)
{
	struct conmon_record line = {.is_stderr = is_stderr,
				     .time_ns = j->part[is_stderr].time_ns,
				     .text = buf_text(&j->part[is_stderr].text),
				     .len = j->part[is_stderr].text.len};

	bug_if(!j->part[is_stderr].is_open);
	on_line(&line, arg);
	j->part[is_stderr].is_open = false;
	buf_consume(&j->part[is_stderr].text, j->part[is_stderr].text.len);
}

static void record_take(struct conmon_join *j, const char *text, size_t len, conmon_line_cb on_line,
			void *arg)
{
	struct conmon_record r;

	if (!conmon_record_parse(text, len, &r))
		return;
	if (!r.is_part && !j->part[r.is_stderr].is_open) { /* most lines are one record */
		on_line(&r, arg);
		return;
	}
	if (!j->part[r.is_stderr].is_open)
		j->part[r.is_stderr].time_ns = r.time_ns;
	j->part[r.is_stderr].is_open = true;
	buf_append(&j->part[r.is_stderr].text, r.text, r.len);
	if (!r.is_part || j->part[r.is_stderr].text.len >= CONMON_LINE_MAX)
		line_end(j, r.is_stderr, on_line, arg);
}

void conmon_join_feed(struct conmon_join *j, const char *data, size_t n, conmon_line_cb on_line, void *arg)
{
	const char *end = data + n, *eol;

	if (j->cut.len && (eol = memchr(data, '\n', n))) {
		buf_append(&j->cut, data, (size_t)(eol - data));
		record_take(j, (char *)j->cut.data, j->cut.len, on_line, arg);
		buf_consume(&j->cut, j->cut.len);
		data = eol + 1;
	}
	for (; data < end && !j->cut.len && (eol = memchr(data, '\n', (size_t)(end - data))); data = eol + 1)
		record_take(j, data, (size_t)(eol - data), on_line, arg);
	if (data < end)
		buf_append(&j->cut, data, (size_t)(end - data));
	if (j->cut.len > CONMON_LINE_MAX) /* conmon's records are 8 KiB: this is no log */
		buf_consume(&j->cut, j->cut.len);
}

void conmon_join_end(struct conmon_join *j, conmon_line_cb on_line, void *arg)
{
	for (int s = 0; s < 2; s++)
		if (j->part[s].is_open)
			line_end(j, s, on_line, arg);
}

void conmon_join_fini(struct conmon_join *j)
{
	buf_fini(&j->cut);
	buf_fini(&j->part[0].text);
	buf_fini(&j->part[1].text);
}

/* ---- files ---- */

#define LOG_MAGIC MAGIC('c', 'l', 'o', 'g')

struct conmon_log {
	uint32_t magic;
	char *path;
	int fd[2];        /* log.1, log; -1: not there, or done with */
	uint64_t size[2]; /* when it was opened */
	ino_t inode;      /* of the newest file that is open */
	uint64_t at;      /* next byte, counted from the beginning of fd[0] */
	uint64_t end;     /* not following: where the log ended */
	uint64_t first; /* lines that end before this byte are not wanted: their parts stand between others */
	bool follow, seen_new;
	struct conmon_join join;
	conmon_line_cb on_line;
	void *arg;
};

static int file_open(const char *path, ino_t *ret_inode, uint64_t *ret_size, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		return err_errno(e, error, "read %s", path);
	}
	*ret_inode = st.st_ino;
	*ret_size = (uint64_t)st.st_size;
	return fd;
}

static void files_close(struct conmon_log *l)
{
	for (int i = 0; i < 2; i++) {
		if (l->fd[i] >= 0)
			close(l->fd[i]);
		l->fd[i] = -1;
		l->size[i] = 0;
	}
}

/* log first: when it is renamed in between, log.1 is the same file, and another look is due. */
static int files_open(struct conmon_log *l, struct err *e)
{
	cleanup_free char *old = xasprintf("%s.1", l->path);
	ino_t inode, old_inode;

	for (;;) {
		inode = old_inode = 0;
		l->fd[1] = file_open(l->path, &inode, &l->size[1], e);
		if (l->fd[1] < 0 && l->fd[1] != -ENOENT)
			return e->code;
		l->fd[0] = file_open(old, &old_inode, &l->size[0], e);
		if (l->fd[0] < 0 && (l->fd[0] != -ENOENT || l->fd[1] < 0))
			return e->code;
		if (l->fd[1] < 0 || old_inode != inode)
			break;
		files_close(l);
	}
	if (l->fd[1] < 0) { /* just renamed: conmon still writes to it */
		l->fd[1] = l->fd[0];
		l->size[1] = l->size[0];
		l->fd[0] = -1;
		l->size[0] = 0;
		inode = old_inode;
	}
	l->inode = inode;
	l->end = l->size[0] + l->size[1];
	err_clear(e);
	return 0;
}

/* Bytes at this place of the two files as one; 0 at the end. */
static ssize_t files_read(const struct conmon_log *l, uint64_t at, char *data, size_t n)
{
	bool is_old = at < l->size[0];

	if (is_old && n > l->size[0] - at)
		n = l->size[0] - at;
	return pread(l->fd[!is_old], data, n, (off_t)(is_old ? at : at - l->size[0]));
}

/* ---- where the last lines begin ---- */

struct search {
	int64_t left;          /* lines still to find */
	uint64_t start, first; /* where to read from; and which records count */
	bool is_wanted[2];     /* the stream's parts here belong to a line that was found */
	bool is_done;
};

/* From the end backwards. A line ends with its F; what has none yet at the very end is a line as well. */
static void search_record(struct search *s, const char *text, size_t len, uint64_t at)
{
	struct conmon_record r;

	if (!conmon_record_parse(text, len, &r))
		return;
	if (r.is_part && s->is_wanted[r.is_stderr]) {
		s->start = at;
	} else if (s->left > 0) {
		s->left--;
		s->start = s->first = at;
		s->is_wanted[r.is_stderr] = true;
	} else {
		s->is_wanted[r.is_stderr] = false;
		s->is_done = !s->is_wanted[0] && !s->is_wanted[1];
	}
}

/* The piece [from, from + n) and what the piece behind it left over (its first record's end). Returns
 * what is left over of this one: bytes of its first, cut record. */
static size_t search_piece(struct search *s, const char *data, size_t n, uint64_t from)
{
	size_t end = n;

	if (n && data[n - 1] != '\n') { /* the log's end: a record that is being written */
		const char *eol = memrchr(data, '\n', n);

		if (!eol && from > 0)
			return n;
		end = eol ? (size_t)(eol - data) + 1 : 0;
		s->start = s->first = from + end;
	}
	while (end > 0 && !s->is_done) {
		const char *eol = memrchr(data, '\n', end - 1);

		if (!eol && from > 0)
			return end;
		size_t begin = eol ? (size_t)(eol - data) + 1 : 0;

		search_record(s, data + begin, end - 1 - begin, from + begin);
		end = begin;
	}
	return 0;
}

static int tail_find(struct conmon_log *l, int64_t tail, struct err *e)
{
	struct search s = {.left = tail, .start = l->end, .first = l->end};
	cleanup_free char *data = xmalloc(PIECE + CONMON_LINE_MAX);
	uint64_t from = l->end;
	size_t left = 0; /* bytes at the front of data that belong behind the next piece */

	while (from > 0 && !s.is_done) {
		size_t n = from < PIECE ? from : PIECE, got = 0;

		if (left > CONMON_LINE_MAX)
			return err_set(e, E_CORRUPT, "%s is no log", l->path);
		memmove(data + n, data, left);
		while (got < n) {
			ssize_t r = files_read(l, from - n + got, data + got, n - got);

			if (r <= 0)
				return err_errno(e, r < 0 ? errno : EIO, "read %s", l->path);
			got += (size_t)r;
		}
		from -= n;
		left = search_piece(&s, data, n + left, from);
	}
	l->at = s.start;
	l->first = s.first;
	return 0;
}

/* ---- reading on ---- */

int conmon_log_open(const char *path, int64_t tail, bool follow, struct conmon_log **ret, struct err *e)
{
	struct conmon_log *l = xcalloc(1, sizeof(*l));

	magic_set(l, LOG_MAGIC);
	l->path = xstrdup(path);
	l->fd[0] = l->fd[1] = -1;
	l->follow = follow;
	if (files_open(l, e) || (tail >= 0 && tail_find(l, tail, e))) {
		conmon_log_free(l);
		return e->code;
	}
	*ret = l;
	return 0;
}

static void wanted_line(const struct conmon_record *line, void *arg)
{
	struct conmon_log *l = magic_of(struct conmon_log, LOG_MAGIC, arg);

	if (l->at >= l->first)
		l->on_line(line, l->arg);
}

/* Up to where the first wanted line's last record begins, nothing is given; so no piece goes over that
 * place. */
static size_t piece_len(const struct conmon_log *l, size_t limit)
{
	uint64_t n = limit < PIECE ? limit : PIECE;

	if (l->at < l->first && l->first - l->at < n)
		n = l->first - l->at;
	if (!l->follow && l->end - l->at < n)
		n = l->end - l->at;
	return n;
}

/* Is there a new log? The one that is open is read to its end once more then. */
static bool turn_over(struct conmon_log *l)
{
	ino_t inode;
	uint64_t size, old_size = l->at - l->size[0];
	int fd;

	if (!l->seen_new) {
		struct stat st;

		l->seen_new = stat(l->path, &st) == 0 && st.st_ino != l->inode;
		return l->seen_new;
	}
	l->seen_new = false;
	fd = file_open(l->path, &inode, &size, NULL);
	if (fd < 0)
		return false;
	if (l->fd[0] >= 0)
		close(l->fd[0]);
	l->fd[0] = l->fd[1]; /* read to its end */
	l->size[0] = old_size;
	l->at = l->first = l->size[0];
	l->fd[1] = fd;
	l->inode = inode;
	return true;
}

int conmon_log_read(struct conmon_log *l, size_t limit, conmon_line_cb on_line, void *arg, struct err *e)
{
	cleanup_free char *data = xmalloc(PIECE);
	ssize_t n;

	bug_if(!magic_is(l, LOG_MAGIC));
	bug_if(!l->follow && l->at > l->end);
	do {
		n = files_read(l, l->at, data, piece_len(l, limit));
	} while (n == 0 && l->follow && turn_over(l));
	if (n < 0)
		return err_errno(e, errno, "read %s", l->path);
	l->on_line = on_line;
	l->arg = arg;
	conmon_join_feed(&l->join, data, (size_t)n, wanted_line, l);
	l->at += (uint64_t)n;
	return (int)n;
}

void conmon_log_end(struct conmon_log *l, conmon_line_cb on_line, void *arg)
{
	conmon_join_end(&l->join, on_line, arg);
}

void conmon_log_free(struct conmon_log *l)
{
	if (!l)
		return;
	files_close(l);
	conmon_join_fini(&l->join);
	free(l->path);
	magic_end(l);
	free(l);
}

/* ---- the end as text ---- */

static void line_append(const struct conmon_record *line, void *arg)
{
	struct buf *b = arg;
	time_t s = (time_t)(line->time_ns / 1000000000);
	struct tm tm;
	char when[32];

	gmtime_r(&s, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	buf_printf(b, "%s.%09d+00:00 %s F ", when, (int)(line->time_ns % 1000000000),
		   line->is_stderr ? "stderr" : "stdout");
	buf_append(b, line->text, line->len);
	buf_append(b, "\n", 1);
}

void conmon_log_mark(const char *path, struct conmon_mark *ret)
{
	struct stat st;

	*ret = (struct conmon_mark){0};
	if (stat(path, &st) == 0)
		*ret = (struct conmon_mark){.inode = st.st_ino, .size = (uint64_t)st.st_size};
}

/* Where the mark is in log.1 and log as one; 0 when both are younger. */
static uint64_t mark_place(const struct conmon_log *l, const struct conmon_mark *m)
{
	uint64_t begin = 0;
	struct stat st;

	for (size_t i = 0; m && i < array_size(l->fd); begin += l->size[i++])
		if (l->fd[i] >= 0 && fstat(l->fd[i], &st) == 0 && st.st_ino == m->inode &&
		    m->size <= l->size[i])
			return begin + m->size;
	return 0;
}

int conmon_log_tail(const char *path, size_t max, const struct conmon_mark *since, char **ret_text,
		    size_t *ret_len, struct err *e)
{
	struct conmon_log *l;
	struct buf text = {0};
	int r = conmon_log_open(path, -1, false, &l, e);

	if (r)
		return r;
	l->at = mark_place(l, since);
	if (l->end - l->at > max)
		l->at = l->end - max;
	do {
		r = conmon_log_read(l, PIECE, line_append, &text, e);
	} while (r > 0);
	conmon_log_free(l);
	if (r < 0) {
		buf_fini(&text);
		return r;
	}
	*ret_len = text.len;
	*ret_text = buf_text(&text);
	return 0;
}
