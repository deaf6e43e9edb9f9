// SPDX-License-Identifier: Apache-2.0
/* Questions to the context that every part asks: is it serving, where are the files, who are the managers. */
#include "manager/context/context.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/mem.h"

bool context_is_serving(const struct context *ctx)
{
	struct err e = {0};

	bug_if_off_loop();
	return ctx->ops->check_serving(ctx->daemon, &e) == 0;
}

void context_mark_dirty(const struct context *ctx)
{
	bug_if_off_loop();
	ctx->ops->mark_dirty(ctx->daemon);
}

char *context_path(const struct context *ctx, const char *name)
{
	bug_if(!ctx->state_dir);
	return xasprintf("%s/%s", ctx->state_dir, name);
}

size_t context_managers(const struct context *ctx, char ***ret)
{
	const Gs__Node *node;
	size_t n = 0;

	*ret = NULL;
	for (size_t i = 0; (node = store_at(ctx->store, OBJ_NODE, i)); i++) {
		if (!*node->manager_addr)
			continue;
		*ret = xrealloc(*ret, (n + 1) * sizeof(**ret));
		(*ret)[n++] = xstrdup(node->manager_addr);
	}
	return n;
}

void context_managers_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}
