// SPDX-License-Identifier: Apache-2.0
/* Copies of a membership, and their end. Nothing can fail. */
#include "worker/context/membership.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/mem.h"

static char *text_dup(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

void membership_dup(const struct membership *s, struct membership *ret)
{
	bug_if(ret == s || (s->n_managers > 0 && !s->managers));
	*ret = *s;
	ret->ca = text_dup(s->ca);
	ret->cert = text_dup(s->cert);
	ret->key = text_dup(s->key);
	ret->managers = xcalloc(s->n_managers + 1, sizeof(*ret->managers));
	for (size_t i = 0; i < s->n_managers; i++)
		ret->managers[i] = xstrdup(s->managers[i]);
}

void membership_fini(struct membership *s)
{
	for (size_t i = 0; i < s->n_managers; i++)
		free(s->managers[i]);
	free(s->managers);
	free(s->ca);
	free(s->cert);
	free(s->key);
	*s = (struct membership){0};
}
