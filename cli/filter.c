// SPDX-License-Identifier: Apache-2.0
/* --filter of the lists.
 *
 * The happy path is: each filter names a key that the list knows, and a row passes when every key that
 * was named has one value that fits. What can fail is a key or a value that no row can have: said, and
 * nothing is listed. */
#include "cli/filter.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/bug.h"
#include "base/mem.h"

static const struct filter_key *key_find(const struct filter_key *keys, const char *filter, size_t len)
{
	for (; keys->name; keys++)
		if (strlen(keys->name) == len && strncmp(keys->name, filter, len) == 0)
			return keys;
	return NULL;
}

static bool is_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);

	for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
		if (strcspn(p, "|") == len && strncasecmp(p, value, len) == 0)
			return true;
	return false;
}

static int unknown_key(const struct filter_key *keys, const char *filter, struct err *e)
{
	struct buf b = {0};

	for (const struct filter_key *k = keys; k->name; k++)
		buf_printf(&b, "%s%s", k == keys ? "" : ", ", k->name);
	err_set(e, CLI_USAGE, "--filter: '%s' is not KEY=VALUE with one of the keys %s", filter,
		buf_text(&b));
	buf_fini(&b);
	return e->code;
}

int filters_check(const struct cmd *c, const struct filter_key *keys, struct err *e)
{
	const struct opt_value *filters = opt_list(c, "filter");

	for (size_t i = 0; i < filters->n_list; i++) {
		const char *f = filters->list[i];
		size_t len = strcspn(f, "=");
		const struct filter_key *key = key_find(keys, f, len);

		if (!key || !f[len])
			return unknown_key(keys, f, e);
		if (key->choices && !is_choice(key->choices, f + len + 1))
			return err_set(e, CLI_USAGE, "--filter: %s '%s' is none of %s", key->name,
				       f + len + 1, key->choices);
	}
	return 0;
}

static bool is_first_of_key(const struct opt_value *filters, size_t at, size_t len)
{
	for (size_t i = 0; i < at; i++)
		if (strncmp(filters->list[i], filters->list[at], len + 1) == 0)
			return false;
	return true;
}

bool filters_pass(const struct cmd *c, bool (*matches)(const char *key, const char *value, const void *row),
		  const void *row)
{
	const struct opt_value *filters = opt_list(c, "filter");

	for (size_t i = 0; i < filters->n_list; i++) {
		size_t len = strcspn(filters->list[i], "=");
		cleanup_free char *key = strndup(filters->list[i], len);
		bool hit = false;

		bug_if(!filters->list[i][len]); /* filters_check has let it through */
		if (!is_first_of_key(filters, i, len))
			continue;
		for (size_t k = i; k < filters->n_list && !hit; k++)
			hit = strncmp(filters->list[k], filters->list[i], len + 1) == 0 &&
			      matches(key, filters->list[k] + len + 1, row);
		if (!hit)
			return false;
	}
	return true;
}

bool filter_prefix(const char *text, const char *value)
{
	return strncmp(text, value, strlen(value)) == 0;
}

bool filter_label(Gs__Label *const *labels, size_t n, const char *value)
{
	size_t len = strcspn(value, "=");

	for (size_t i = 0; i < n; i++)
		if (strlen(labels[i]->key) == len && strncmp(labels[i]->key, value, len) == 0 &&
		    (!value[len] || strcmp(labels[i]->value, value + len + 1) == 0))
			return true;
	return false;
}
