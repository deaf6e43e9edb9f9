// SPDX-License-Identifier: Apache-2.0
/* What a bundle owns. Nothing can fail. */
#include "worker/bundle/bundle.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/mem.h"

void user_fini(struct user *u)
{
	free(u->groups);
	free(u->home);
	*u = (struct user){0};
}

struct bundle *bundle_new(void)
{
	return xcalloc(1, sizeof(struct bundle));
}

void bundle_free(struct bundle *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n_volumes; i++) {
		free(b->volumes[i].target);
		free(b->volumes[i].path);
	}
	free(b->volumes);
	for (size_t i = 0; i < b->n_mounts; i++) {
		free(b->mounts[i].source);
		free(b->mounts[i].target);
		free(b->mounts[i].type);
		free(b->mounts[i].options);
	}
	free(b->mounts);
	free(b->rootfs);
	free(b->lower);
	free(b->upper);
	free(b->work);
	user_fini(&b->user);
	free(b);
}

void bundle_mount_add(struct bundle *b, const char *source, const char *target, const char *type,
		      const char *options)
{
	bug_if(*target != '/' || !*type);
	b->mounts = xrealloc(b->mounts, (b->n_mounts + 1) * sizeof(*b->mounts));
	b->mounts[b->n_mounts++] = (struct bundle_mount){
		.source = xstrdup(source),
		.target = xstrdup(target),
		.type = xstrdup(type),
		.options = xstrdup(options),
	};
}
