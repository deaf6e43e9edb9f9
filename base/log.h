// SPDX-License-Identifier: Apache-2.0
/* One line a message on stderr (or a file descriptor of the caller's choice):
 *   2026-11-20T13:00:00.123Z info worker task db.1: running pid=7
 * Library code never logs; the code that swallows an error logs it, once. The log's level and area
 * prefix are the only global state of the project. */
#pragma once

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* program: "worker", "manager"; borrowed for the life of the process. */
void log_init(const char *program, enum log_level level, int fd);
/* "error" | "warn" | "info" | "debug"; returns 0 or -EINVAL. */
int log_level_parse(const char *text, enum log_level *ret_level);
/* From now on, for the whole process. */
void log_set_level(enum log_level level);
/* From now on lines are written by a thread of their own: nobody who logs waits for who reads the log, nor for a
 * disk. Lines that find 64 KiB waiting are lost, and counted in a line of their own. Once. */
void log_start_writer(void);
/* Wait until all is written, at most this long: before the process ends. */
void log_flush(unsigned ms);
/* One line, whatever the text holds; nothing when its level is not wanted. Any thread. */
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)
