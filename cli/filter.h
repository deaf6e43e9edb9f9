// SPDX-License-Identifier: Apache-2.0
/* --filter KEY=VALUE: values of one key are alternatives, different keys must all hold (as with Docker). */
#pragma once
#include "cli/opt.h"
#include "proto/schema/objects.pb-c.h"

struct filter_key {
	const char *name;
	const char *choices; /* "worker|manager": the values there are; NULL: any text */
};
/* Every filter of the option --filter has one of the keys (a NULL name ends them) and a value that can
 * be. CLI_USAGE. */
int filters_check(const struct cmd *c, const struct filter_key *keys, struct err *e);
/* `matches` says whether the row has that value. true: the row is to be shown. */
bool filters_pass(const struct cmd *c, bool (*matches)(const char *key, const char *value, const void *row),
		  const void *row);
/* text begins with value: how ids and names are matched. */
bool filter_prefix(const char *text, const char *value);
/* value is "KEY" or "KEY=VALUE": one of the labels is that. */
bool filter_label(Gs__Label *const *labels, size_t n, const char *value);
