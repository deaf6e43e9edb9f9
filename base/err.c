// SPDX-License-Identifier: Apache-2.0
/* The happy path is: nobody calls this. Nothing here can fail; a message too long is cut. A message is one
 * line whatever was quoted in it: control characters and broken UTF-8 become '?'. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

static void format(struct err *e, const char *fmt, va_list ap)
{
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	text_one_line(e->msg);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return code;
	e->code = code;
	va_start(ap, fmt);
	format(e, fmt, ap);
	va_end(ap);
	return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char old[sizeof(e->msg)];
	size_t n;
	va_list ap;

	if (!e)
		return -1;
	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	format(e, fmt, ap);
	va_end(ap);
	n = strlen(e->msg);
	snprintf(e->msg + n, sizeof(e->msg) - n, ": %s", old);
	text_one_line(e->msg); /* it may be cut now */
	return e->code;
}

int err_errno(struct err *e, int errno_value, const char *fmt, ...)
{
	size_t n;
	va_list ap;

	if (!e)
		return -errno_value;
	e->code = -errno_value;
	va_start(ap, fmt);
	format(e, fmt, ap);
	va_end(ap);
	n = strlen(e->msg);
	snprintf(e->msg + n, sizeof(e->msg) - n, ": %s", strerror(errno_value));
	return -errno_value;
}

void err_clear(struct err *e)
{
	if (!e)
		return;
	e->code = 0;
	e->msg[0] = 0;
}

const char *err_name(int code)
{
	static const char *const own[] = {
		"NOT_LEADER",      "NO_QUORUM",   "STALE_VERSION", "UNSAFE_BOOTSTRAP", "NOT_MANAGER",
		"UNAUTHENTICATED", "FORBIDDEN",   "NOT_FOUND",     "EXISTS",           "IN_USE",
		"INVALID",         "PROTOCOL",    "DEADLINE",      "CANCELLED",        "CLOSED",
		"LIMIT",           "UNAVAILABLE", "EXHAUSTED",     "CORRUPT",          "TOKEN",
		"COMPACTED",       "BLOCKED",
	};
	int i = -1001 - code;

	if (i >= 0 && i < (int)(sizeof(own) / sizeof(own[0])))
		return own[i];
	if (code < 0 && code > -200) {
		const char *name = strerrorname_np(-code);

		return name ? name : "UNKNOWN";
	}
	return code == 0 ? "OK" : "UNKNOWN";
}
