// SPDX-License-Identifier: Apache-2.0
/* Options by table.
 *
 * The happy path is: the words after a verb become values and plain arguments. What can fail is only the
 * user's words: an unknown option, a missing or senseless value, too few or too many arguments; each is one
 * line, CLI_USAGE. */
#include "cli/opt.h"

#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/help.h"
#include "cli/parse.h"

static size_t count(const struct opt *o)
{
	size_t n = 0;

	while (o[n].name)
		n++;
	return n;
}

static struct opt_value *value_of(const struct cmd *c, const char *name)
{
	size_t i = 0;

	while (c->verb->options[i].name && strcmp(c->verb->options[i].name, name))
		i++;
	bug_if(!c->verb->options[i].name); /* not in the verb's table */
	bug_if(!c->values);
	return &c->values[i];
}

bool opt_exists(const struct cmd *c, const char *name)
{
	for (const struct opt *o = c->verb->options; o->name; o++)
		if (strcmp(o->name, name) == 0)
			return true;
	return false;
}

const char *opt_value_word(const struct opt *o)
{
	static const char *const words[] = {"", "string", "list", "uint", "duration", "bytes", "decimal"};

	bug_if(o->type >= array_size(words));
	return o->arg ? o->arg : words[o->type];
}

static bool choice_index(const char *choices, const char *text, int *ret)
{
	size_t len = strlen(text);
	int i = 0;

	for (const char *p = choices; *p; i++) {
		size_t n = strcspn(p, "|");

		if (n == len && strncmp(p, text, n) == 0) {
			*ret = i;
			return true;
		}
		p += n + (p[n] == '|');
	}
	return false;
}

static int number_of(const struct opt *o, const char *text, uint64_t *ret, struct err *e)
{
	switch (o->type) {
	case OPT_UINT:
		return parse_uint(text, UINT32_MAX, ret, e);
	case OPT_DURATION:
		return parse_duration(text, ret, e);
	case OPT_BYTES:
		return parse_bytes(text, ret, e);
	case OPT_CPUS:
		return parse_cpus(text, ret, e);
	default:
		return 0;
	}
}

/* "'5s' is below the least, 100ms" */
static int check_range(const struct opt *o, const char *text, uint64_t value, struct err *e)
{
	uint64_t least = 0, most = UINT64_MAX;

	bug_if(o->least && number_of(o, o->least, &least, NULL) < 0);
	bug_if(o->most && number_of(o, o->most, &most, NULL) < 0);
	if (value < least)
		return err_set(e, CLI_USAGE, "%s is below the least, %s", text, o->least);
	if (value > most)
		return err_set(e, CLI_USAGE, "%s is above the most, %s", text, o->most);
	return 0;
}

static int check_value(const struct opt *o, const char *text, uint64_t *ret, struct err *e)
{
	int unused;

	if (o->choices && !choice_index(o->choices, text, &unused))
		return err_set(e, CLI_USAGE, "'%s' is none of %s", text, o->choices);
	if (!text_is_utf8(text))
		return err_set(e, CLI_USAGE, "'%s' is not UTF-8", text);
	if (number_of(o, text, ret, e) < 0)
		return e->code;
	return check_range(o, text, *ret, e);
}

static int set_value(struct cmd *c, size_t i, const char *text, struct err *e)
{
	const struct opt *o = &c->verb->options[i];
	struct opt_value *v = &c->values[i];

	if (check_value(o, text, &v->number, e) < 0) {
		err_wrap(e, "--%s", o->name);
		return e->code = CLI_USAGE;
	}
	v->is_set = true;
	v->text = text;
	if (o->type == OPT_LIST) {
		v->list = xrealloc(v->list, (v->n_list + 1) * sizeof(*v->list));
		v->list[v->n_list++] = text;
	}
	return 0;
}

/* A flag takes no value, or =true / =false as Docker's do. */
static int set_flag(struct cmd *c, size_t i, const char *text, struct err *e)
{
	if (text && strcmp(text, "true") && strcmp(text, "false"))
		return err_set(e, CLI_USAGE, "--%s is a switch: it takes no value '%s'",
			       c->verb->options[i].name, text);
	c->values[i].is_set = !text || strcmp(text, "true") == 0;
	return 0;
}

/* "--name value", "--name=value". 1: the next word was used up. */
static int take_long(struct cmd *c, const char *word, const char *next, struct err *e)
{
	const char *name = word + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);

	for (size_t i = 0; c->verb->options[i].name; i++) {
		const struct opt *o = &c->verb->options[i];

		if (strlen(o->name) != len || strncmp(o->name, name, len))
			continue;
		if (o->type == OPT_FLAG)
			return set_flag(c, i, equals ? equals + 1 : NULL, e);
		if (equals)
			return set_value(c, i, equals + 1, e);
		if (!next)
			return err_set(e, CLI_USAGE, "--%s needs a value (%s)", o->name,
				       o->choices ? o->choices : opt_value_word(o));
		int r = set_value(c, i, next, e);
		return r < 0 ? r : 1;
	}
	return err_set(e, CLI_USAGE, "unknown option --%.*s", (int)len, name);
}

/* "-d", "-dq", "-d=false", "-e K=V", "-eK=V". 1: the next word was used up. */
static int take_short(struct cmd *c, const char *word, const char *next, struct err *e)
{
	for (const char *p = word + 1; *p; p++) {
		size_t i = 0;

		while (c->verb->options[i].name && c->verb->options[i].letter != *p)
			i++;
		if (!c->verb->options[i].name)
			return err_set(e, CLI_USAGE, "unknown option -%c", *p);
		if (c->verb->options[i].type == OPT_FLAG && p[1] == '=')
			return set_flag(c, i, p + 2, e);
		if (c->verb->options[i].type == OPT_FLAG) {
			set_flag(c, i, NULL, e);
			continue;
		}
		if (p[1])
			return set_value(c, i, p + 1 + (p[1] == '='), e);
		if (!next)
			return err_set(e, CLI_USAGE, "-%c needs a value (%s)", *p,
				       opt_value_word(&c->verb->options[i]));
		int r = set_value(c, i, next, e);
		return r < 0 ? r : 1;
	}
	return 0;
}

static bool is_help(const struct cmd *c, const char *word)
{
	if (strcmp(word, "--help") == 0)
		return true;
	if (strcmp(word, "-h"))
		return false;
	for (const struct opt *o = c->verb->options; o->name; o++)
		if (o->letter == 'h')
			return false;
	return true;
}

static int check_count(const struct cmd *c, struct err *e)
{
	const struct verb *v = c->verb;
	int n = (int)c->n_args;

	for (int i = 0; i < n; i++) {
		if (!text_is_utf8(c->args[i]))
			return err_set(e, CLI_USAGE, "'%s' is not UTF-8", c->args[i]);
		if (!*c->args[i] && !(v->options_first && i > 0)) /* a variable that was not set */
			return err_set(e, CLI_USAGE, "argument %d is empty", i + 1);
	}
	if (n >= v->min_args && (v->max_args < 0 || n <= v->max_args))
		return 0;
	if (v->max_args == 0)
		return err_set(e, CLI_USAGE, "takes no argument, '%s' was given", c->args[0]);
	if (v->min_args == v->max_args)
		return err_set(e, CLI_USAGE, "needs %d argument%s, %d given", v->min_args,
			       v->min_args == 1 ? "" : "s", n);
	if (n < v->min_args)
		return err_set(e, CLI_USAGE, "needs at least %d argument%s", v->min_args,
			       v->min_args == 1 ? "" : "s");
	return err_set(e, CLI_USAGE, "takes at most %d argument%s, %d given", v->max_args,
		       v->max_args == 1 ? "" : "s", n);
}

int opt_parse(struct cmd *c, int n, char *const *words, struct err *e)
{
	bool plain = false;

	bug_if(c->values || !c->verb);
	c->values = xcalloc(count(c->verb->options) + 1, sizeof(*c->values));
	c->args = xcalloc((size_t)n + 1, sizeof(*c->args));
	for (int i = 0; i < n; i++) {
		const char *w = words[i], *next = i + 1 < n ? words[i + 1] : NULL;
		int r;

		if (plain || w[0] != '-' || !w[1]) {
			c->args[c->n_args++] = w;
			plain = plain || c->verb->options_first;
			continue;
		}
		if (strcmp(w, "--") == 0) {
			plain = true;
			continue;
		}
		if (is_help(c, w)) {
			help_verb(stdout, c->noun, c->verb);
			return 1;
		}
		r = w[1] == '-' ? take_long(c, w, next, e) : take_short(c, w, next, e);
		if (r < 0)
			return r;
		i += r;
	}
	return check_count(c, e);
}

void opt_fini(struct cmd *c)
{
	for (size_t i = 0; c->values && c->verb->options[i].name; i++)
		free(c->values[i].list);
	free(c->values);
	free(c->args);
	c->values = NULL;
	c->args = NULL;
}

bool opt_is_set(const struct cmd *c, const char *name)
{
	return value_of(c, name)->is_set;
}

const char *opt_text(const struct cmd *c, const char *name, const char *fallback)
{
	struct opt_value *v = value_of(c, name);

	return v->is_set ? v->text : fallback;
}

uint64_t opt_number(const struct cmd *c, const char *name, uint64_t fallback)
{
	struct opt_value *v = value_of(c, name);

	return v->is_set ? v->number : fallback;
}

const struct opt_value *opt_list(const struct cmd *c, const char *name)
{
	return value_of(c, name);
}

int opt_choice(const struct cmd *c, const char *name, int fallback)
{
	const struct opt *o = &c->verb->options[value_of(c, name) - c->values];
	int i = fallback;

	bug_if(!o->choices);
	if (opt_is_set(c, name))
		choice_index(o->choices, opt_text(c, name, ""), &i);
	return i;
}
