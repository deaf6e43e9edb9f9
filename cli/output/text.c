// SPDX-License-Identifier: Apache-2.0
/* How times, sizes, ids and states read on the screen.
 *
 * The happy path is formatting into the caller's buffer; nothing can fail. */
#include "cli/output/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/mem.h"

int64_t wall_now_ms(void)
{
	return clock_wall_ms(&clock_real);
}

static void plural(char *buf, size_t n, int64_t count, const char *unit)
{
	snprintf(buf, n, "%lld %s%s", (long long)count, unit, count == 1 ? "" : "s");
}

const char *text_span(int64_t ms, char *buf, size_t n)
{
	int64_t s = ms / 1000, m = s / 60, h = (m + 30) / 60;

	if (s < 1)
		snprintf(buf, n, "Less than a second");
	else if (s < 60)
		plural(buf, n, s, "second");
	else if (m == 1)
		snprintf(buf, n, "About a minute");
	else if (m < 60)
		plural(buf, n, m, "minute");
	else if (h == 1)
		snprintf(buf, n, "About an hour");
	else if (h < 48)
		plural(buf, n, h, "hour");
	else if (h < 24 * 14)
		plural(buf, n, h / 24, "day");
	else if (h < 24 * 60)
		plural(buf, n, h / 24 / 7, "week");
	else if (h < 24 * 365 * 2)
		plural(buf, n, h / 24 / 30, "month");
	else
		plural(buf, n, h / 24 / 365, "year");
	return buf;
}

const char *text_ago(int64_t since_ms, int64_t now_ms, char *buf, size_t n)
{
	char span[48];

	text_span(now_ms > since_ms ? now_ms - since_ms : 0, span, sizeof(span));
	span[0] = (char)tolower((unsigned char)span[0]);
	snprintf(buf, n, "%s ago", span);
	return buf;
}

const char *text_bytes(uint64_t bytes, char *buf, size_t n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)bytes;
	size_t i = 0;

	while (v >= 1024 && i + 1 < array_size(units)) {
		v /= 1024;
		i++;
	}
	snprintf(buf, n, "%.4g%s", v, units[i]);
	return buf;
}

int text_order(const char *a, const char *b)
{
	return strverscmp(a, b);
}

const char *text_short_id(const char *id, char buf[ID_SHORT_LEN + 1])
{
	bug_if(!id);
	snprintf(buf, ID_SHORT_LEN + 1, "%s", id);
	return buf;
}

char *text_cut(const char *text, size_t limit)
{
	char *s = xstrdup(text);
	size_t len;

	bug_if(!text);
	for (char *p = s; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	len = strlen(s);
	if (!limit || len <= limit)
		return s;
	while (limit && ((unsigned char)s[limit] & 0xc0) == 0x80)
		limit--; /* not in the middle of a character */
	s[limit] = '\0';
	char *cut = xasprintf("%s…", s);
	free(s);
	return cut;
}

void text_time(int64_t wall_ms, char *buf, size_t n)
{
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm;

	localtime_r(&t, &tm);
	if (!strftime(buf, n, "%Y-%m-%d %H:%M:%S", &tm))
		buf[0] = '\0';
}

const char *text_state_word(Gs__TaskState s)
{
	static char word[24];

	snprintf(word, sizeof(word), "%s", task_state_name(s));
	for (char *p = word; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return word;
}

bool galera_is_ready(const Gs__Task *t)
{
	const Gs__GaleraView *v = t->status ? t->status->view : NULL;

	return v && v->ready && v->local_state == 4 && strcmp(v->status, "Primary") == 0;
}

static char *text_view(const Gs__GaleraView *v)
{
	static const char *const states[] = {"Joining", "Joining", "Donor",
					     "Joined",  "Synced",  "Inconsistent"};
	const char *state = v->local_state < array_size(states) ? states[v->local_state] : "?";

	if (!v->connected || strcmp(v->status, "Disconnected") == 0)
		return xstrdup("Disconnected");
	if (strcmp(v->status, "Primary"))
		return xasprintf("%s (sees %u)", v->status[0] ? v->status : "non-Primary", v->cluster_size);
	if (v->local_state == 4 && !v->ready)
		return xstrdup("Synced, not ready");
	if (strcmp(v->health, "LAGGING") == 0)
		return xasprintf("%s, lagging", state);
	return xstrdup(state);
}

char *text_galera(const Gs__Task *t)
{
	const Gs__TaskStatus *s = t->status;

	if (t->topology != TOPO_GALERA || !s || task_state_is_final(s->state))
		return xstrdup("");
	if (s->state == TASK_HELD && s->evidence) {
		const Gs__GaleraEvidence *v = s->evidence;

		if (v->position && v->position->uuid[0] && v->position->seqno >= 0)
			return xasprintf("held: %s at %lld", galera_class_name(v->class_),
					 (long long)v->position->seqno);
		return xasprintf("held: %s", galera_class_name(v->class_));
	}
	if (s->state >= TASK_STARTING && s->view && s->view->status[0])
		return text_view(s->view);
	if (s->progress[0])
		return xstrdup(s->progress);
	return xstrdup(s->state == TASK_HELD ? "held" : "");
}
