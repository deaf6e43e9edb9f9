// SPDX-License-Identifier: Apache-2.0
/* What happened, as rows: part of the entry that made it happen. Nothing can fail. */
#include <stdarg.h>

#include "base/bug.h"
#include "base/mem.h"
#include "manager/model/rows.h"

void event_add(struct tx *tx, struct reconcile_env *env, const char *kind, const char *object_id,
	       const char *fmt, ...)
{
	char id[ID_LEN + 1];
	Gs__Event *ev;
	va_list ap;
	cleanup_free char *text = NULL;

	bug_if(!*kind || !*object_id || !env->new_id);
	env->new_id(env->arg, id);
	ev = obj_new_row(OBJ_EVENT, id);
	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	str_replace(&ev->kind, kind);
	str_replace(&ev->object_id, object_id);
	str_replace(&ev->text, text);
	tx_create(tx, ev);
}
