// SPDX-License-Identifier: Apache-2.0
/* The happy path is a small text file of `key: value` lines, well formed because the server wrote it whole.
 * What can fail is everything else: a file cut by a power loss, filled with NULs by the file system, or
 * somebody else's. Lines are walked with explicit lengths, no line is copied unless it fits. */
#include "worker/galera/parse.h"

#include <ctype.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"

struct line {
	const char *at;
	size_t len;
};

/* The next line without its end; false at the end of the text. */
static bool line_next(const char **pos, const char *end, struct line *ret)
{
	const char *nl;

	bug_if(*pos > end);
	if (*pos >= end)
		return false;
	nl = memchr(*pos, '\n', end - *pos);
	ret->at = *pos;
	ret->len = (nl ? nl : end) - *pos;
	*pos = nl ? nl + 1 : end;
	while (ret->len && (ret->at[ret->len - 1] == '\r' || ret->at[ret->len - 1] == ' '))
		ret->len--;
	return true;
}

/* The value after "key" in this line, without leading blanks. */
static bool line_value(const struct line *l, const char *key, struct line *ret)
{
	size_t n = strlen(key);

	if (l->len < n || memcmp(l->at, key, n))
		return false;
	ret->at = l->at + n;
	ret->len = l->len - n;
	while (ret->len && (*ret->at == ' ' || *ret->at == '\t')) {
		ret->at++;
		ret->len--;
	}
	return true;
}

/* A decimal number at the start of the text; the bytes it took, 0 when there is none or it does not fit. */
static size_t number_parse(const char *text, size_t len, int64_t *ret)
{
	size_t n = 0, digits = 0;
	bool negative = len && text[0] == '-';
	int64_t v = 0;

	for (n = negative; n < len && isdigit((unsigned char)text[n]); n++, digits++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, text[n] - '0', &v))
			return 0;
	if (!digits)
		return 0;
	*ret = negative ? -v : v;
	return n;
}

bool galera_uuid_is_valid(const char *text, size_t len)
{
	if (len != GALERA_UUID_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return true;
}

bool galera_uuid_is_zero(const char *uuid)
{
	return strspn(uuid, "0-") == strlen(uuid);
}

static void uuid_copy(char ret[GALERA_UUID_LEN + 1], const char *text)
{
	bug_if(!galera_uuid_is_valid(text, GALERA_UUID_LEN));
	for (size_t i = 0; i < GALERA_UUID_LEN; i++)
		ret[i] = (char)tolower((unsigned char)text[i]);
	ret[GALERA_UUID_LEN] = 0;
}

int galera_position_parse(const char *text, size_t len, struct galera_position *ret)
{
	struct galera_position p;
	size_t n;

	if (len < GALERA_UUID_LEN + 2 || !galera_uuid_is_valid(text, GALERA_UUID_LEN) ||
	    text[GALERA_UUID_LEN] != ':')
		return E_CORRUPT;
	uuid_copy(p.uuid, text);
	text += GALERA_UUID_LEN + 1;
	len -= GALERA_UUID_LEN + 1;
	n = number_parse(text, len, &p.seqno);
	if (!n || p.seqno < -1 || (n < len && text[n] != ',' && !isspace((unsigned char)text[n])))
		return E_CORRUPT;
	*ret = p;
	return 0;
}

int grastate_parse(const char *text, size_t len, struct grastate *ret, struct err *e)
{
	struct grastate g = {.position.seqno = -1};
	const char *pos = text, *end = text + len;
	bool has_seqno = false;
	struct line l, v;
	int64_t n;

	if (len > GALERA_FILE_MAX)
		return err_set(e, E_CORRUPT, "grastate.dat has %zu bytes", len);
	while (line_next(&pos, end, &l)) {
		if (line_value(&l, "uuid:", &v)) {
			if (!galera_uuid_is_valid(v.at, v.len))
				return err_set(e, E_CORRUPT, "grastate.dat: malformed uuid");
			uuid_copy(g.position.uuid, v.at);
		} else if (line_value(&l, "seqno:", &v)) {
			if (!v.len || number_parse(v.at, v.len, &n) != v.len || n < -1)
				return err_set(e, E_CORRUPT, "grastate.dat: malformed seqno");
			g.position.seqno = n;
			has_seqno = true;
		} else if (line_value(&l, "safe_to_bootstrap:", &v)) {
			g.safe_to_bootstrap = v.len == 1 && *v.at == '1';
		}
	}
	if (!*g.position.uuid || !has_seqno)
		return err_set(e, E_CORRUPT, "grastate.dat: no %s", *g.position.uuid ? "seqno" : "uuid");
	*ret = g;
	return 0;
}

/* "view_id: 3 <uuid> <seq>": the first number is the view's type. */
static int view_id_parse(const struct line *v, struct gvwstate *g)
{
	int64_t type, seq;
	size_t n = number_parse(v->at, v->len, &type), at = n + 1 + GALERA_UUID_LEN;

	if (!n || v->len < at + 2 || v->at[n] != ' ' || v->at[at] != ' ' ||
	    !galera_uuid_is_valid(v->at + n + 1, GALERA_UUID_LEN))
		return E_CORRUPT;
	if (number_parse(v->at + at + 1, v->len - at - 1, &seq) != v->len - at - 1 || seq < 0 ||
	    seq > UINT32_MAX)
		return E_CORRUPT;
	uuid_copy(g->view_uuid, v->at + n + 1);
	g->view_seq = (uint32_t)seq;
	return 0;
}

int gvwstate_parse(const char *text, size_t len, struct gvwstate *ret, struct err *e)
{
	const char *pos = text, *end = text + len;
	struct gvwstate g = {0};
	bool closed = false;
	struct line l, v;

	if (len > GALERA_FILE_MAX)
		return err_set(e, E_CORRUPT, "gvwstate.dat has %zu bytes", len);
	while (line_next(&pos, end, &l)) {
		if (line_value(&l, "my_uuid:", &v) && galera_uuid_is_valid(v.at, v.len))
			uuid_copy(g.my_uuid, v.at);
		else if (line_value(&l, "view_id:", &v) && view_id_parse(&v, &g))
			return err_set(e, E_CORRUPT, "gvwstate.dat: malformed view_id");
		else if (line_value(&l, "member:", &v) && v.len >= GALERA_UUID_LEN &&
			 galera_uuid_is_valid(v.at, GALERA_UUID_LEN))
			g.members++;
		else if (line_value(&l, "#vwend", &v))
			closed = true;
	}
	if (!*g.my_uuid || !*g.view_uuid || !closed)
		return err_set(e, E_CORRUPT, "gvwstate.dat: incomplete");
	*ret = g;
	return 0;
}

static const char *find(const char *text, size_t len, const char *needle, size_t *ret_left)
{
	const char *at = memmem(text, len, needle, strlen(needle));

	bug_if(!*needle);
	if (!at)
		return NULL;
	at += strlen(needle);
	*ret_left = text + len - at;
	return at;
}

/* "Starting MariaDB 10.11.19-MariaDB-... source" */
static void version_copy(char ret[64], const char *at, size_t left)
{
	size_t n = 0;

	while (n < left && n < 63 && (isalnum((unsigned char)at[n]) || strchr(".-+~_", at[n])) && at[n])
		n++;
	memcpy(ret, at, n);
	ret[n] = 0;
}

/* "[ERROR] Found 2 prepared transactions! It means that ...": the server will not start on this data. Its note
 * "Found 7 prepared transaction(s) in InnoDB" is what every crash under load leaves beside a binary log, and
 * settled by then. */
static bool is_stuck_on_prepared(const struct line *l)
{
	size_t left, digits;
	const char *at;
	int64_t n;

	if (!find(l->at, l->len, "[ERROR]", &left))
		return false;
	at = find(l->at, l->len, "Found ", &left);
	digits = at ? number_parse(at, left, &n) : 0;
	return digits && n > 0 && find(at + digits, left - digits, " prepared transaction", &left);
}

void recover_parse(const char *text, size_t len, struct recover_result *ret)
{
	const char *pos = text, *end = text + len, *at;
	struct line l;
	size_t left;

	memset(ret, 0, sizeof(*ret));
	ret->position.seqno = -1;
	while (line_next(&pos, end, &l)) {
		if ((at = find(l.at, l.len, "Recovered position:", &left))) {
			for (; left && isspace((unsigned char)*at); at++)
				left--;
			ret->has_position = !galera_position_parse(at, left, &ret->position);
		} else if (is_stuck_on_prepared(&l)) {
			ret->prepared = true;
		} else if ((at = find(l.at, l.len, "Starting MariaDB ", &left))) {
			version_copy(ret->version, at, left);
		}
	}
}

/* By a signal that it does not send itself: a server that meets damaged data ends by SIGABRT or SIGSEGV. */
static bool was_killed(int status)
{
	static const int own[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

	for (size_t i = 0; i < array_size(own); i++)
		if (status == 128 + own[i])
			return false;
	return status > 128;
}

bool recover_was_hindered(int status, const char *text, size_t len)
{
	static const char *const words[] = {"No space left on device", "Disk quota exceeded",
					    "Too many open files", "Cannot allocate memory", "Out of memory"};
	size_t left;

	for (size_t i = 0; i < array_size(words); i++)
		if (find(text, len, words[i], &left))
			return true;
	return was_killed(status);
}

static const char *const state_names[] = {"none", "building", "genesis", "clean", "dirty"};

const char *volume_state_name(enum volume_state s)
{
	return (size_t)s < array_size(state_names) ? state_names[s] : "?";
}

/* A string member of at most n - 1 characters, else E_CORRUPT; absent is "". */
static int mark_text(const json_t *o, const char *key, char *ret, size_t n)
{
	const json_t *v = json_object_get(o, key);

	bug_if(n == 0);
	if (!v)
		return 0;
	if (!json_is_string(v) || json_string_length(v) >= n)
		return E_CORRUPT;
	memcpy(ret, json_string_value(v), json_string_length(v) + 1);
	return 0;
}

static bool mark_flag(const json_t *o, const char *key, bool absent)
{
	const json_t *v = json_object_get(o, key);

	return json_is_boolean(v) ? json_is_true(v) : absent;
}

static int mark_fields(const json_t *o, struct volume_mark *m, struct err *e)
{
	const json_t *epoch = json_object_get(o, "epoch");
	char state[16] = "";

	if (mark_text(o, "cluster", m->cluster, sizeof(m->cluster)) ||
	    mark_text(o, "slot", m->slot, sizeof(m->slot)) ||
	    mark_text(o, "volume", m->volume, sizeof(m->volume)) ||
	    mark_text(o, "uuid", m->uuid, sizeof(m->uuid)) ||
	    mark_text(o, "genesis", m->genesis, sizeof(m->genesis)) ||
	    mark_text(o, "state", state, sizeof(state)))
		return err_set(e, E_CORRUPT, "gswarm.json: a field is no text or too long");
	if (!json_is_integer(epoch) || json_integer_value(epoch) < 0)
		return err_set(e, E_CORRUPT, "gswarm.json: no epoch");
	m->epoch = (uint64_t)json_integer_value(epoch);
	if (mark_text(o, "aside", m->aside, sizeof(m->aside)) ||
	    strspn(m->aside, "0123456789.") != strlen(m->aside))
		return err_set(e, E_CORRUPT, "gswarm.json: aside is no number");
	/* A version that did not keep these: what ever ran may be whole, and newest. */
	m->whole = mark_flag(o, "whole", m->epoch > 0);
	m->synced = mark_flag(o, "synced", m->epoch > 0);
	for (size_t i = 0; i < array_size(state_names); i++)
		if (strcmp(state, state_names[i]) == 0) {
			m->state = (enum volume_state)i;
			return *m->cluster ? 0 : err_set(e, E_CORRUPT, "gswarm.json: no cluster");
		}
	return err_set(e, E_CORRUPT, "gswarm.json: unknown state");
}

int volume_mark_parse(const char *text, size_t len, struct volume_mark *ret, struct err *e)
{
	struct volume_mark m = {0};
	json_error_t je;
	json_t *o;
	int r;

	if (len > GALERA_FILE_MAX)
		return err_set(e, E_CORRUPT, "gswarm.json has %zu bytes", len);
	o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!json_is_object(o)) {
		json_decref(o);
		return err_set(e, E_CORRUPT, "gswarm.json is no JSON object");
	}
	r = mark_fields(o, &m, e);
	json_decref(o);
	if (!r)
		*ret = m;
	return r;
}

char *volume_mark_format(const struct volume_mark *m)
{
	json_t *o =
		json_pack("{s:i, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:b, s:b, s:s}", "format", 1, "cluster",
			  m->cluster, "slot", m->slot, "volume", m->volume, "epoch", (json_int_t)m->epoch,
			  "state", volume_state_name(m->state), "uuid", m->uuid, "genesis", m->genesis,
			  "whole", (int)m->whole, "synced", (int)m->synced, "aside", m->aside);
	char *text;

	if (!o)
		abort(); /* out of memory, or an id that is not UTF-8: ids are checked where they enter */
	text = json_dumps(o, JSON_INDENT(1));
	json_decref(o);
	if (!text)
		abort();
	return text;
}

/* ---- why a server ended ---- */

/* 0: says nothing, 1: some line, 2: an error that only says that there was one, 3: an error */
static int weight_of(const char *line, size_t len)
{
	if (!line || len == 0)
		return 0;
	if (!memmem(line, len, "ERROR", 5))
		return 1;
	return memmem(line, len, "Aborting", 8) ? 2 : 3;
}

void server_last_words(const char *text, char *ret, size_t n)
{
	const char *best = "";
	int most = 0;

	bug_if(!text || !n);
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		int weight = weight_of(line, len);

		if (weight && weight >= most) {
			best = line;
			most = weight;
		}
		line += len + (line[len] == '\n');
	}
	snprintf(ret, n, "%.*s", (int)strcspn(best, "\n"), best);
}
