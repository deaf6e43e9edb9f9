// SPDX-License-Identifier: Apache-2.0
/* Values as Docker's users write them: durations, sizes, CPUs, mounts, ports, environment.
 *
 * The happy path is a value in the unit that the messages carry. What can fail is the text: each function
 * says what it did not understand and leaves its output untouched. */
#include "cli/parse.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/opt.h"

#define ENV_FILE_MAX (1u << 20)

int parse_uint(const char *text, uint64_t limit, uint64_t *ret, struct err *e)
{
	char *end;
	unsigned long long v;

	bug_if(!ret);
	errno = 0;
	v = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end)
		return err_set(e, CLI_USAGE, "'%s' is not a whole number", text);
	if (errno || v > limit)
		return err_set(e, CLI_USAGE, "%s is too large, the most is %llu", text,
			       (unsigned long long)limit);
	*ret = v;
	return 0;
}

static double duration_unit(const char *p, size_t *ret_len)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
	size_t n = 0;

	while (isalpha((unsigned char)p[n]))
		n++;
	*ret_len = n;
	for (size_t i = 0; i < array_size(units); i++)
		if (strlen(units[i].name) == n && strncmp(units[i].name, p, n) == 0)
			return units[i].ns;
	return 0;
}

/* Digits with at most one dot; strtod would also take signs, exponents, hex and "inf". */
static bool decimal(const char *p, double *ret, const char **ret_end)
{
	char *end;

	if (!isdigit((unsigned char)*p) && !(*p == '.' && isdigit((unsigned char)p[1])))
		return false;
	size_t n = strspn(p, "0123456789."), dots = 0;
	for (size_t i = 0; i < n; i++)
		dots += p[i] == '.';
	if (dots > 1 || n > 400)
		return false;
	char copy[401];
	memcpy(copy, p, n);
	copy[n] = '\0';
	*ret = strtod(copy, &end);
	*ret_end = p + n;
	return true;
}

int parse_duration(const char *text, uint64_t *ret_ns, struct err *e)
{
	const char *p = text;
	double total = 0, v;

	if (strcmp(text, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	if (!*text)
		return err_set(e, CLI_USAGE, "'' is no duration (like 10s or 1m30s)");
	while (*p) {
		size_t len;
		double unit;

		if (!decimal(p, &v, &p))
			return err_set(e, CLI_USAGE, "'%s' is no duration (like 10s or 1m30s)", text);
		unit = duration_unit(p, &len);
		if (unit <= 0)
			return err_set(e, CLI_USAGE, "duration '%s' needs a unit: ns us ms s m h", text);
		total += v * unit;
		p += len;
	}
	if (total > 9.2e18)
		return err_set(e, CLI_USAGE, "duration '%s' is too long", text);
	*ret_ns = (uint64_t)llround(total);
	return 0;
}

/* "Z", "+02:00"; anything else is local time's. Seconds to take off. */
static bool parse_offset(const char *text, struct tm *tm, int64_t *ret_s)
{
	int hours, minutes, used = 0;
	struct tm local = *tm;

	if (!*text) {
		local.tm_isdst = -1;
		*ret_s = (int64_t)mktime(&local);
		return true;
	}
	*ret_s = (int64_t)timegm(tm);
	if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
		return true;
	if ((*text != '+' && *text != '-') || sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 ||
	    text[1 + used] || hours > 23 || minutes > 59)
		return false;
	*ret_s -= (*text == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	return true;
}

static bool parse_rfc3339(const char *text, int64_t *ret_ms)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
					    "%Y-%m-%dT%H", "%Y-%m-%d"};
	struct tm tm;
	const char *rest = NULL;
	double fraction = 0;
	int64_t s;

	for (size_t i = 0; !rest && i < array_size(forms); i++) {
		tm = (struct tm){.tm_mday = 1};
		rest = strptime(text, forms[i], &tm);
	}
	if (!rest)
		return false;
	if (*rest == '.' && (!decimal(rest, &fraction, &rest) || fraction >= 1))
		return false;
	if (!parse_offset(rest, &tm, &s))
		return false;
	*ret_ms = s * 1000 + (int64_t)(fraction * 1000);
	return true;
}

int parse_time(const char *text, int64_t now_ms, int64_t *ret_ms, struct err *e)
{
	const char *end;
	uint64_t ns;
	double s;

	if (decimal(text, &s, &end) && !*end && s < 1e12) {
		*ret_ms = (int64_t)(s * 1000);
		return 0;
	}
	if (parse_rfc3339(text, ret_ms))
		return 0;
	if (parse_duration(text, &ns, NULL) < 0)
		return err_set(e, CLI_USAGE, "'%s' is no time (like 10m, 2026-11-20T14:03:02 or 1795186053)",
			       text);
	*ret_ms = now_ms - (int64_t)(ns / 1000000);
	return 0;
}

int parse_bytes(const char *text, uint64_t *ret, struct err *e)
{
	static const char letters[] = "bkmgtp";
	const char *p;
	double v;
	int power = 0;

	if (!decimal(text, &v, &p))
		return err_set(e, CLI_USAGE, "'%s' is no size (like 512m or 2g)", text);
	if (*p == ' ')
		p++;
	if (*p) {
		const char *at = strchr(letters, tolower((unsigned char)*p));

		if (!at)
			return err_set(e, CLI_USAGE, "size '%s' ends in no unit known here: b k m g t p",
				       text);
		power = (int)(at - letters);
		p++;
		if (power && tolower((unsigned char)p[0]) == 'i' && tolower((unsigned char)p[1]) == 'b')
			p += 2;
		else if (power && tolower((unsigned char)*p) == 'b')
			p++;
	}
	v = ldexp(v, 10 * power);
	if (*p)
		return err_set(e, CLI_USAGE, "'%s' is no size (like 512m or 2g)", text);
	if (v > 9e18)
		return err_set(e, CLI_USAGE, "size '%s' is too large", text);
	*ret = (uint64_t)v;
	return 0;
}

int parse_cpus(const char *text, uint64_t *ret_nano, struct err *e)
{
	const char *p;
	double v;

	if (!decimal(text, &v, &p) || *p)
		return err_set(e, CLI_USAGE, "'%s' is no number of CPUs (like 0.5 or 2)", text);
	if (v > 1e6)
		return err_set(e, CLI_USAGE, "'%s' is more CPUs than there can be", text);
	*ret_nano = (uint64_t)llround(v * 1e9);
	return 0;
}

/* ---- "key=value,key=value" ---- */
struct csv {
	char *copy, *next;
	const char *key, *value; /* value NULL: no '=' */
};

static bool csv_next(struct csv *c)
{
	char *item = strsep(&c->next, ",");

	if (!item)
		return false;
	c->key = item;
	c->value = NULL;
	char *eq = strchr(item, '=');
	if (eq) {
		*eq = '\0';
		c->value = eq + 1;
	}
	return true;
}

static bool one_of(const char *key, const char *a, const char *b, const char *c)
{
	return strcmp(key, a) == 0 || (b && strcmp(key, b) == 0) || (c && strcmp(key, c) == 0);
}

static int mount_field(Gs__Mount *m, const struct csv *c, struct err *e)
{
	static const char *const types[] = {"volume", "bind", "tmpfs"};

	if (one_of(c->key, "readonly", "ro", NULL) && (!c->value || one_of(c->value, "true", "1", NULL))) {
		m->readonly = true;
		return 0;
	}
	if (one_of(c->key, "readonly", "ro", NULL) && one_of(c->value, "false", "0", NULL))
		return 0;
	if (!c->value)
		return err_set(e, CLI_USAGE, "'%s' needs a value", c->key);
	if (one_of(c->key, "source", "src", NULL)) {
		str_replace(&m->source, c->value);
	} else if (one_of(c->key, "target", "dst", "destination")) {
		str_replace(&m->target, c->value);
	} else if (strcmp(c->key, "tmpfs-size") == 0) {
		return parse_bytes(c->value, &m->tmpfs_bytes, e);
	} else if (strcmp(c->key, "type") == 0) {
		for (int i = 0; i < 3; i++)
			if (strcmp(c->value, types[i]) == 0) {
				m->type = (Gs__MountType)i;
				return 0;
			}
		return err_set(e, CLI_USAGE, "type '%s' is none of volume|bind|tmpfs", c->value);
	} else {
		return err_set(e, CLI_USAGE, "unknown key '%s' (type, source, target, readonly, tmpfs-size)",
			       c->key);
	}
	return 0;
}

static int mount_check(const Gs__Mount *m, struct err *e)
{
	if (!m->target[0])
		return err_set(e, CLI_USAGE, "target=/an/absolute/path is missing");
	if (!text_is_path(m->target))
		return err_set(e, CLI_USAGE, "target '%s' is no absolute path without '..'", m->target);
	if (m->type == MOUNT_BIND && !text_is_path(m->source))
		return err_set(e, CLI_USAGE, "a bind mount needs source=/an/absolute/path without '..'");
	if (m->type == MOUNT_TMPFS && m->source[0])
		return err_set(e, CLI_USAGE, "a tmpfs has no source");
	if (m->type != MOUNT_TMPFS && m->tmpfs_bytes)
		return err_set(e, CLI_USAGE, "tmpfs-size belongs to type=tmpfs");
	return 0;
}

int parse_mount(const char *text, Gs__Mount **ret, struct err *e)
{
	Gs__Mount *m = obj_new(&gs__mount__descriptor);
	struct csv c = {.copy = xstrdup(text)};
	int r = 0;

	c.next = c.copy;
	while (!r && csv_next(&c))
		r = mount_field(m, &c, e);
	if (!r)
		r = mount_check(m, e);
	free(c.copy);
	if (r < 0) {
		obj_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

static int port_field(Gs__Port *p, const struct csv *c, struct err *e)
{
	uint64_t v = 0;

	if (!c->value)
		return err_set(e, CLI_USAGE, "'%s' needs a value", c->key);
	if (strcmp(c->key, "protocol") == 0)
		str_replace(&p->protocol, c->value);
	else if (strcmp(c->key, "mode") == 0)
		str_replace(&p->mode, c->value);
	else if (strcmp(c->key, "published") == 0 && !parse_uint(c->value, 65535, &v, e))
		p->published = (uint32_t)v;
	else if (strcmp(c->key, "target") == 0 && !parse_uint(c->value, 65535, &v, e))
		p->target = (uint32_t)v;
	else
		return err_set(e, CLI_USAGE, "'%s=%s' is no part of a port", c->key, c->value);
	return 0;
}

/* "8080:80/tcp" or "80" */
static int port_short(Gs__Port *p, char *text, struct err *e)
{
	char *proto = strchr(text, '/'), *colon;
	uint64_t v;

	if (proto) {
		*proto++ = '\0';
		str_replace(&p->protocol, proto);
	}
	colon = strchr(text, ':');
	if (colon) {
		*colon++ = '\0';
		if (parse_uint(text, 65535, &v, e) < 0)
			return e->code;
		p->published = (uint32_t)v;
	}
	if (parse_uint(colon ? colon : text, 65535, &v, e) < 0)
		return e->code;
	p->target = (uint32_t)v;
	return 0;
}

int parse_port(const char *text, Gs__Port **ret, struct err *e)
{
	Gs__Port *p = obj_new(&gs__port__descriptor);
	struct csv c = {.copy = xstrdup(text)};
	struct err local = {0};
	int r = 0;

	e = e ? e : &local;
	c.next = c.copy;
	str_replace(&p->protocol, "tcp");
	str_replace(&p->mode, "ingress");
	if (strchr(text, '='))
		while (!r && csv_next(&c))
			r = port_field(p, &c, e);
	else
		r = port_short(p, c.copy, e);
	if (!r && (!p->target || (strcmp(p->protocol, "tcp") && strcmp(p->protocol, "udp")) ||
		   (strcmp(p->mode, "ingress") && strcmp(p->mode, "host"))))
		r = err_set(e, CLI_USAGE,
			    "'%s' is no port (like 8080:80/tcp or published=8080,target=80,mode=host)", text);
	free(c.copy);
	if (r < 0) {
		obj_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int parse_network(const char *text, Gs__NetworkAttach **ret, struct err *e)
{
	Gs__NetworkAttach *a = obj_new(&gs__network_attach__descriptor);
	struct csv c = {.copy = xstrdup(text)};
	int r = 0;

	c.next = c.copy;
	if (!strchr(text, '=') && !strchr(text, ',')) {
		str_replace(&a->network_id, text);
	} else {
		while (!r && csv_next(&c)) {
			if (c.value && strcmp(c.key, "name") == 0)
				str_replace(&a->network_id, c.value);
			else if (c.value && strcmp(c.key, "alias") == 0)
				obj_add_str(&a->n_aliases, &a->aliases, c.value);
			else
				r = err_set(e, CLI_USAGE, "'%s' is neither name=NETWORK nor alias=NAME",
					    c.key);
		}
	}
	if (!r && !a->network_id[0])
		r = err_set(e, CLI_USAGE, "a network's name is missing");
	free(c.copy);
	if (r < 0) {
		obj_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

int parse_label(const char *text, Gs__Label **ret, struct err *e)
{
	const char *eq = strchr(text, '=');
	Gs__Label *l;

	if (eq == text || !*text)
		return err_set(e, CLI_USAGE, "label '%s' has no key (KEY=VALUE)", text);
	l = obj_new(&gs__label__descriptor);
	l->key = eq ? strndup(text, (size_t)(eq - text)) : xstrdup(text);
	l->value = xstrdup(eq ? eq + 1 : "");
	*ret = l;
	return 0;
}

int parse_env(const char *text, char **ret, struct err *e)
{
	const char *eq = strchr(text, '=');

	if (eq == text || !*text)
		return err_set(e, CLI_USAGE, "'%s' has no variable name (NAME=VALUE)", text);
	if (eq) {
		*ret = xstrdup(text);
		return 0;
	}
	*ret = getenv(text) ? xasprintf("%s=%s", text, getenv(text)) : NULL;
	return 0;
}

int parse_env_file(const char *path, size_t *n, char ***list, struct err *e)
{
	cleanup_free char *data = NULL;
	char *next, *line;
	size_t len;

	if (fs_read(path, ENV_FILE_MAX, &data, &len, e) < 0)
		return e->code;
	next = data;
	for (int number = 1; (line = strsep(&next, "\n")); number++) {
		cleanup_free char *item = NULL;

		line += strspn(line, " \t");
		line[strcspn(line, "\r")] = '\0';
		if (!*line || *line == '#')
			continue;
		if (strcspn(line, " \t") < strcspn(line, "="))
			return err_set(e, CLI_USAGE, "%s:%d: the name '%.*s' has a blank in it", path, number,
				       (int)strcspn(line, "="), line);
		if (parse_env(line, &item, e) < 0)
			return err_wrap(e, "%s:%d", path, number);
		if (item)
			obj_add_str(n, list, item);
	}
	return 0;
}
