// SPDX-License-Identifier: Apache-2.0
/* Calls that block, for the command line: a private loop that runs until the answer is there.
 *
 * The happy path is: connect, call, answer. What can fail is the daemon (not running, refusing, gone in the
 * middle): the error then says where it was looked for and what to do. */
#include <errno.h>

#include "base/mem.h"
#include "proto/rpc/conn.h"
#include "proto/rpc/sync.h"
#include "proto/rpc/client.h"

#define TICK_MS 100

struct rpc_sync {
	uv_loop_t loop;
	uv_timer_t ticker;
	struct rpc_client *client; /* NULL: closed */
	bool is_open;
	struct err err;
};

struct wait {
	bool is_done, is_stopped;
	struct err err;
	ProtobufCMessage *resp;
	struct rpc_req *req;
	bool (*on_event)(const ProtobufCMessage *event, void *arg);
	bool (*tick)(void *arg);
	void *arg;
};

static void on_state(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct rpc_sync *s = arg;

	if (state == RPC_OPEN)
		s->is_open = true;
	if (state != RPC_CLOSED)
		return;
	s->client = NULL;
	s->is_open = false;
	s->err = *e;
}

static int explain(struct err *e, const char *path)
{
	if (e->code == -ENOENT || e->code == -ECONNREFUSED)
		return err_set(e, E_UNAVAILABLE,
			       "no gswarm daemon answers on %s: is it running on this host?", path);
	if (e->code == -EACCES)
		return err_set(e, E_FORBIDDEN,
			       "%s may not be opened: run gswarm as root or as a member of group gswarm",
			       path);
	return e->code;
}

int rpc_sync_connect(const char *unix_path, struct rpc_sync **ret, struct err *e)
{
	struct rpc_sync *s = xcalloc(1, sizeof(*s));
	struct rpc_client_config config = {.unix_path = unix_path, .on_state = on_state, .arg = s};

	uv_loop_init(&s->loop);
	uv_timer_init(&s->loop, &s->ticker);
	s->client = rpc_client_new(&s->loop, &config);
	while (s->client && !s->is_open)
		uv_run(&s->loop, UV_RUN_ONCE);
	if (!s->is_open) {
		int rc = explain(&s->err, unix_path);

		if (e)
			*e = s->err;
		rpc_sync_close(s);
		return rc;
	}
	*ret = s;
	return 0;
}

static void on_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct wait *w = arg;

	w->is_done = true;
	w->req = NULL;
	if (e)
		w->err = *e;
	if (resp) {
		size_t n = protobuf_c_message_get_packed_size(resp);
		cleanup_free uint8_t *raw = xmalloc(n + 1);

		protobuf_c_message_pack(resp, raw);
		w->resp = protobuf_c_message_unpack(resp->descriptor, NULL, n, raw);
	}
}

static void stop(struct wait *w)
{
	w->is_stopped = true;
	if (w->req)
		rpc_req_cancel(w->req);
}

static void on_stream_event(const ProtobufCMessage *event, void *arg)
{
	struct wait *w = arg;

	if (!w->is_stopped && !w->on_event(event, w->arg))
		stop(w);
}

static void on_tick(uv_timer_t *t)
{
	struct wait *w = t->data;

	if (!w->is_stopped && !w->tick(w->arg))
		stop(w);
}

static int run(struct rpc_sync *s, const struct rpc_call_spec *spec, struct wait *w, struct err *e)
{
	if (!s->client)
		return err_set(e, E_CLOSED, "connection lost: %.200s", s->err.msg);
	w->req = rpc_call_start(s->client, spec);
	while (!w->is_done)
		uv_run(&s->loop, UV_RUN_ONCE);
	if (w->is_stopped || !w->err.code)
		return 0;
	if (e)
		*e = w->err;
	return w->err.code;
}

int rpc_sync_call(struct rpc_sync *s, unsigned service, unsigned method, const ProtobufCMessage *req,
		  uint32_t deadline_ms, ProtobufCMessage **ret_resp, struct err *e)
{
	struct wait w = {0};
	struct rpc_call_spec spec = {.service = service,
				     .method = method,
				     .req = req,
				     .deadline_ms = deadline_ms,
				     .done = on_done,
				     .arg = &w};
	int rc = run(s, &spec, &w, e);

	if (rc == 0 && !w.resp)
		return err_set(e, E_PROTOCOL, "no answer");
	if (rc == 0 && ret_resp)
		*ret_resp = steal(w.resp);
	if (w.resp)
		protobuf_c_message_free_unpacked(w.resp, NULL);
	return rc;
}

int rpc_sync_stream(struct rpc_sync *s, unsigned service, unsigned method, const ProtobufCMessage *req,
		    bool (*on_event)(const ProtobufCMessage *event, void *arg), bool (*tick)(void *arg),
		    void *arg, struct err *e)
{
	struct wait w = {.on_event = on_event, .tick = tick, .arg = arg};
	struct rpc_call_spec spec = {.service = service,
				     .method = method,
				     .req = req,
				     .on_event = on_stream_event,
				     .done = on_done,
				     .arg = &w};
	int rc;

	s->ticker.data = &w;
	if (tick)
		uv_timer_start(&s->ticker, on_tick, TICK_MS, TICK_MS);
	rc = run(s, &spec, &w, e);
	uv_timer_stop(&s->ticker);
	if (w.resp)
		protobuf_c_message_free_unpacked(w.resp, NULL);
	return rc;
}

void rpc_sync_close(struct rpc_sync *s)
{
	if (!s)
		return;
	if (s->client)
		rpc_client_close(s->client);
	uv_close((uv_handle_t *)&s->ticker, NULL);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	uv_loop_close(&s->loop);
	free(s);
}
