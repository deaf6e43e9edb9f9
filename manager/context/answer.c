// SPDX-License-Identifier: Apache-2.0
/* How a handler's changes become its answer: its tx is committed, then the call gets the response. When rows that
 * it read have changed meanwhile, the handler runs again on the fresh state; any other failure of the commit is
 * the answer. */
#include "manager/context/answer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/bug.h"
#include "base/mem.h"
#include "base/text.h"

/* Of requests that met each other one gets through in every round. */
#define ATTEMPTS 256
#define ANSWER_MAGIC MAGIC('a', 'n', 's', 'w')

void answer_fail(struct rpc_call *call, int code, const char *fmt, ...)
{
	struct err e = {.code = code};
	va_list ap;

	bug_if(code >= 0);
	va_start(ap, fmt);
	vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
	va_end(ap);
	text_one_line(e.msg);
	rpc_fail(call, &e);
}

void answer_empty(struct rpc_call *call)
{
	Gs__Empty empty = GS__EMPTY__INIT;

	rpc_reply(call, &empty.base);
}

bool answer_unless_serving(const struct context *ctx, struct rpc_call *call)
{
	struct err e = {0};

	bug_if_off_loop();
	if (ctx->ops->check_serving(ctx->daemon, &e) == 0)
		return false;
	rpc_fail(call, &e);
	return true;
}

/* ---- by a commit ---- */

struct answer {
	uint32_t magic;
	const struct context *ctx;
	struct rpc_call *call;
	void *resp;
	rpc_handler again;
	void *arg, *req;
};

/* The number of attempts so far travels with the call. */
static bool try_again(struct answer *a, const struct err *e)
{
	uintptr_t attempts = (uintptr_t)rpc_call_data(a->call);

	if (e->code != E_STALE_VERSION || !a->again || attempts >= ATTEMPTS)
		return false;
	rpc_call_set_data(a->call, (void *)(attempts + 1));
	a->again(take_once(a->call), a->req, a->arg);
	return true;
}

static void answer_now(struct answer *a, const struct err *e)
{
	struct rpc_call *call = take_once(a->call);

	if (e->code == -ENOSPC)
		answer_fail(
			call, -ENOSPC,
			"the disk under %s is full: nothing was changed; free at least 12 MiB and try again",
			a->ctx->state_dir);
	else if (e->code)
		rpc_fail(call, e);
	else if (a->resp)
		rpc_reply(call, a->resp);
	else
		answer_empty(call);
}

static void on_committed(void *arg, const struct err *e)
{
	struct answer *a = magic_of(struct answer, ANSWER_MAGIC, arg);

	if (!try_again(a, e))
		answer_now(a, e);
	bug_if(a->call);
	obj_free(a->resp);
	obj_free(a->req);
	magic_end(a);
	free(a);
}

void answer_commit(struct context *ctx, struct rpc_call *call, struct tx *take_tx, void *take_resp,
		   rpc_handler again, void *arg, const ProtobufCMessage *req)
{
	struct answer *a = xcalloc(1, sizeof(*a));

	bug_if(again && !req);
	magic_set(a, ANSWER_MAGIC);
	a->ctx = ctx;
	a->call = call;
	a->resp = take_resp;
	a->again = again;
	a->arg = arg;
	a->req = again ? obj_dup(req) : NULL;
	store_commit(ctx->store, take_tx, on_committed, a);
}
