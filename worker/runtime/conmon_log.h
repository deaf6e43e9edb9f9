// SPDX-License-Identifier: Apache-2.0
/* A task's log as its monitor writes it (conmon's k8s-file), read as the lines that the task printed.
 *
 *   2026-11-20T14:47:33.123456789+00:00 stdout P what conmon had read when its buffer was full, or a write ended
 *   2026-11-20T14:47:33.123460000+00:00 stderr F another stream may come between
 *   2026-11-20T14:47:33.123470000+00:00 stdout F , and the rest of the line
 *
 * A record is one line of the file; records P ... P F of one stream are one line of the task. Rotation renames "log"
 * to "log.1", and conmon opens a new "log": both files are one log here. The only reader of this format: `service
 * logs` and what a Galera member's log tells both stand on it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define CONMON_LINE_MAX (256u << 10) /* a longer line comes in several */

struct conmon_record {
	int64_t time_ns;         /* since 1970, of the first part */
	bool is_stderr, is_part; /* is_part: tag P */
	const char *text;        /* borrowed, without a line break */
	size_t len;
};
/* One record without its line break; false when it is none. *ret borrows from line. */
bool conmon_record_parse(const char *line, size_t len, struct conmon_record *ret);

/* ---- joining ---- */
typedef void (*conmon_line_cb)(const struct conmon_record *line, void *arg);

struct conmon_join {
	struct buf cut; /* the record that the bytes so far end in */
	struct {
		struct buf text;
		int64_t time_ns;
		bool is_open;
	} part[2]; /* stdout, stderr: parts of a line whose end is not read yet */
};
/* The log's next n bytes, cut anywhere. What is no record is left out. on_line is called for each line
 * that is whole now and borrows it. */
void conmon_join_feed(struct conmon_join *j, const char *data, size_t n, conmon_line_cb on_line, void *arg);
/* There is no more: lines that have no end (yet) are given as they are. */
void conmon_join_end(struct conmon_join *j, conmon_line_cb on_line, void *arg);
/* Frees; a line without its end is lost. */
void conmon_join_fini(struct conmon_join *j);

/* ---- files; all of it blocks on the disk ---- */
struct conmon_log;
/* path: "log". tail: how many of the last lines, negative: all. follow: what is added later is read as
 * well, through rotations; otherwise reading ends where the log ended now. -ENOENT: neither log nor
 * log.1 is there. */
int conmon_log_open(const char *path, int64_t tail, bool follow, struct conmon_log **ret, struct err *e);
/* Reads at most `limit` bytes on and gives the lines that became whole. Returns how many bytes were
 * read; 0: at the end (for now, if following); negative: *e. */
int conmon_log_read(struct conmon_log *l, size_t limit, conmon_line_cb on_line, void *arg, struct err *e);
/* The unfinished line at the end of a log that is not followed. */
void conmon_log_end(struct conmon_log *l, conmon_line_cb on_line, void *arg);
/* Closes and frees; NULL is fine. */
void conmon_log_free(struct conmon_log *l);

/* A place in a log that rotation does not move: what is written later is behind it. */
struct conmon_mark {
	uint64_t inode, size; /* of the file that was "log" then; {0}: before all there is */
};
/* Where the log ends now; {0} when there is none. */
void conmon_log_mark(const char *path, struct conmon_mark *ret);

/* The lines in the last `max` bytes of log.1 and log, each as one record with tag F and a line break; only what is
 * behind `since` if that is not NULL and its file is still there. *ret_text is the caller's, NUL-terminated. */
int conmon_log_tail(const char *path, size_t max, const struct conmon_mark *since, char **ret_text,
		    size_t *ret_len, struct err *e);
