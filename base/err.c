// SPDX-License-Identifier: Apache-2.0
/* Errors as a code and one line. A message too long is cut; whatever was quoted in it stays one line of UTF-8:
 * control characters and broken sequences become '?'. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
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

#define FIRST_OWN E_NOT_LEADER
const char *err_name(int code)
{
	static const char *const own[] = {
		[FIRST_OWN - E_NOT_LEADER] = "NOT_LEADER",
		[FIRST_OWN - E_STALE_VERSION] = "STALE_VERSION",
		[FIRST_OWN - E_UNSAFE_BOOTSTRAP] = "UNSAFE_BOOTSTRAP",
		[FIRST_OWN - E_NOT_MANAGER] = "NOT_MANAGER",
		[FIRST_OWN - E_UNAUTHENTICATED] = "UNAUTHENTICATED",
		[FIRST_OWN - E_FORBIDDEN] = "FORBIDDEN",
		[FIRST_OWN - E_NOT_FOUND] = "NOT_FOUND",
		[FIRST_OWN - E_EXISTS] = "EXISTS",
		[FIRST_OWN - E_IN_USE] = "IN_USE",
		[FIRST_OWN - E_INVALID] = "INVALID",
		[FIRST_OWN - E_PROTOCOL] = "PROTOCOL",
		[FIRST_OWN - E_DEADLINE] = "DEADLINE",
		[FIRST_OWN - E_CANCELLED] = "CANCELLED",
		[FIRST_OWN - E_CLOSED] = "CLOSED",
		[FIRST_OWN - E_LIMIT] = "LIMIT",
		[FIRST_OWN - E_UNAVAILABLE] = "UNAVAILABLE",
		[FIRST_OWN - E_EXHAUSTED] = "EXHAUSTED",
		[FIRST_OWN - E_CORRUPT] = "CORRUPT",
		[FIRST_OWN - E_TOKEN] = "TOKEN",
		[FIRST_OWN - E_BLOCKED] = "BLOCKED",
	};
	int i = FIRST_OWN - code;

	if (i >= 0 && i < (int)array_size(own) && own[i])
		return own[i];
	if (code < 0 && code > -200) {
		const char *name = strerrorname_np(-code);

		return name ? name : "UNKNOWN";
	}
	return code == 0 ? "OK" : "UNKNOWN";
}
