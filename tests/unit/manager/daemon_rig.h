// SPDX-License-Identifier: Apache-2.0
/* A whole manager and its clients on one loop, in a temporary folder: for test_ca.c and test_control.c. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "manager/daemon/manager.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/schema/control.pb-c.h"
#include "proto/schema/dispatch.pb-c.h"
#include "proto/rpc/client.h"

#define RIG_PATIENCE_MS 60000 /* of calls and connects: no test is about how fast this machine is */

struct rig {
	uv_loop_t loop;
	struct manager m;
	char *dir, *addr, node_id[ID_LEN + 1];
	uint16_t port;
	struct rpc_client *local;
	char *ca_pem, *key_pem, *cert_pem; /* of the first node's worker */
	bool stopped;
	Gs__ClusterSpec *spec; /* for init; NULL: defaults */
	struct clock_virtual still;
	struct clock still_clock;
	const char *source; /* whence rig_dial comes; NULL: 127.0.0.1 */
};

static inline void rig_prepare(struct rig *r)
{
	memset(&r->m, 0, sizeof(r->m));
	r->m.ctx.loop = &r->loop;
	r->m.ctx.clock = &clock_real;
	r->m.ctx.state_dir = xasprintf("%s/state", r->dir);
	r->m.run_dir = xasprintf("%s/run", r->dir);
}

static inline void rig_start(struct rig *r)
{
	struct err e = {0};

	rig_prepare(r);
	if (manager_start(&r->m, &e))
		fail_msg("%s", e.msg);
}

/* From now on no time passes for the manager's own rooms, so that what it allows in a second is a number, however long a
 * busy machine takes. */
static inline void rig_stop_clock(struct rig *r)
{
	r->still = (struct clock_virtual){clock_mono_ms(&clock_real), clock_wall_ms(&clock_real)};
	r->still_clock = clock_virtual_of(&r->still);
	r->m.ctx.clock = &r->still_clock;
}

static inline void rig_on_stopped(void *arg)
{
	((struct rig *)arg)->stopped = true;
}

static inline void rig_on_state(struct rpc_client *c, enum rpc_client_state state, const struct err *e,
				void *arg)
{
	if (state == RPC_CLOSED && arg)
		*(struct rpc_client **)arg = NULL;
}

static inline void rig_stop(struct rig *r)
{
	if (r->local)
		rpc_client_close(r->local);
	r->stopped = false;
	manager_stop(&r->m, rig_on_stopped, r);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	assert_true(r->stopped);
	manager_fini(&r->m);
}

/* One that nobody has now, below those that the kernel gives to outgoing connections. */
static inline uint16_t rig_port(void)
{
	for (unsigned i = 0;; i++) {
		struct sockaddr_in sa = {.sin_family = AF_INET};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

		sa.sin_port = htons((uint16_t)(20000 + ((unsigned)getpid() + i) % 12000));
		sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		rc = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
		close(fd);
		if (rc == 0)
			return ntohs(sa.sin_port);
		assert_true(i < 1000);
	}
}

static inline struct rig *rig_new(void)
{
	struct rig *r = xcalloc(1, sizeof(*r));
	char dir[] = "/tmp/gs-manager-XXXXXX";

	assert_non_null(mkdtemp(dir));
	uv_loop_init(&r->loop);
	r->dir = xstrdup(dir);
	r->port = rig_port();
	r->addr = xasprintf("127.0.0.1:%u", r->port);
	id_new(r->node_id);
	rig_start(r);
	return r;
}

static inline void rig_free(struct rig *r)
{
	rig_stop(r);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	fs_remove_all(r->dir, NULL);
	free(r->dir);
	free(r->addr);
	free(r->ca_pem);
	free(r->key_pem);
	free(r->cert_pem);
	free(r);
}

static inline struct rpc_client *rig_local(struct rig *r)
{
	cleanup_free char *path = xasprintf("%s/manager.sock", r->m.run_dir);
	struct rpc_client_config config = {.unix_path = path,
					   .connect_timeout_ms = RIG_PATIENCE_MS,
					   .on_state = rig_on_state,
					   .arg = &r->local};

	if (!r->local)
		r->local = rpc_client_new(&r->loop, &config);
	return r->local;
}

/* ---- one call, waited for ---- */

struct waited {
	bool done;
	void *resp;
	struct err err;
};

static inline void rig_on_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct waited *w = arg;

	w->resp = resp ? obj_dup(resp) : NULL;
	if (e)
		w->err = *e;
	w->done = true;
}

/* The response, or NULL and *e. */
static inline void *rig_call_on(struct rig *r, struct rpc_client *c, unsigned service, unsigned method,
				const void *req, struct err *e)
{
	struct waited w = {0};
	struct rpc_call_spec spec = {.service = service,
				     .method = method,
				     .req = req,
				     .deadline_ms = RIG_PATIENCE_MS,
				     .done = rig_on_done,
				     .arg = &w};

	rpc_call_start(c, &spec);
	while (!w.done)
		uv_run(&r->loop, UV_RUN_ONCE);
	*e = w.err;
	return w.resp;
}

/* How many of so many calls were allowed. */
static inline unsigned rig_get_roots(struct rig *r, struct rpc_client *c, int tries, struct err *e)
{
	Gs__Empty empty = GS__EMPTY__INIT;
	unsigned allowed = 0;

	for (int i = 0; i < tries; i++) {
		void *resp = rig_call_on(r, c, RPC_CA, CA_GET_ROOT, &empty, e);

		allowed += !!resp;
		obj_free(resp);
	}
	return allowed;
}

/* Two calls that are both on their way before either is answered. */
static inline void rig_call_both(struct rig *r, const unsigned methods[2], const void *const reqs[2],
				 struct err ret_errs[2])
{
	struct waited w[2] = {0};

	for (int i = 0; i < 2; i++) {
		struct rpc_call_spec spec = {.service = RPC_CONTROL,
					     .method = methods[i],
					     .req = reqs[i],
					     .deadline_ms = RIG_PATIENCE_MS,
					     .done = rig_on_done,
					     .arg = &w[i]};

		rpc_call_start(rig_local(r), &spec);
	}
	while (!w[0].done || !w[1].done)
		uv_run(&r->loop, UV_RUN_ONCE);
	for (int i = 0; i < 2; i++) {
		ret_errs[i] = w[i].err;
		obj_free(w[i].resp);
	}
}

static inline void *rig_call(struct rig *r, unsigned method, const void *req, struct err *e)
{
	return rig_call_on(r, rig_local(r), RPC_CONTROL, method, req, e);
}

static inline void *rig_call_ok(struct rig *r, unsigned method, const void *req)
{
	struct err e = {0};
	void *resp = rig_call(r, method, req, &e);

	if (!resp)
		fail_msg("method %u: %s", method, e.msg);
	return resp;
}

/* ---- a cluster ---- */

static inline Gs__NodeDescription *rig_description(const char *hostname, uint8_t last)
{
	Gs__NodeDescription *d = obj_new(&gs__node_description__descriptor);
	uint8_t ip[4] = {192, 168, 55, last};

	str_replace(&d->hostname, hostname);
	obj_bytes_set(&d->advertise_ip, ip, 4);
	obj_bytes_set(&d->vtep_ip, ip, 4);
	d->vtep_mtu = 1500;
	return d;
}

/* Begins it; w tells how it ended. */
static inline void rig_init_start(struct rig *r, const char *addr, struct waited *w)
{
	Gs__InitClusterRequest req = GS__INIT_CLUSTER_REQUEST__INIT;
	struct rpc_call_spec spec = {.service = RPC_CONTROL,
				     .method = CONTROL_INIT_CLUSTER,
				     .req = &req.base,
				     .deadline_ms = RIG_PATIENCE_MS,
				     .done = rig_on_done,
				     .arg = w};
	cleanup(obj_free_p) Gs__NodeDescription *d = rig_description("docker1.local", 111);
	cleanup_free char *csr = NULL;

	if (!r->key_pem)
		assert_int_equal(tls_key_new(&r->key_pem, NULL), 0);
	assert_int_equal(tls_csr_new(r->key_pem, r->node_id, &csr, NULL), 0);
	req.advertise_addr = (char *)addr;
	req.spec = r->spec;
	req.description = d;
	req.node_id = r->node_id;
	req.worker_csr_pem = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	rpc_call_start(rig_local(r), &spec);
}

static inline Gs__InitClusterResponse *rig_init_call(struct rig *r, const char *addr, struct err *e)
{
	struct waited w = {0};

	rig_init_start(r, addr, &w);
	while (!w.done)
		uv_run(&r->loop, UV_RUN_ONCE);
	*e = w.err;
	return w.resp;
}

static inline char *rig_text(const ProtobufCBinaryData *d)
{
	char *text = xcalloc(1, d->len + 1);

	memcpy(text, d->data, d->len);
	return text;
}

static inline struct rig *rig_with_spec(Gs__ClusterSpec *spec)
{
	struct rig *r = rig_new();
	struct err e = {0};
	Gs__InitClusterResponse *resp;

	r->spec = spec;
	resp = rig_init_call(r, r->addr, &e);

	if (!resp)
		fail_msg("init: %s", e.msg);
	r->ca_pem = rig_text(&resp->ca_pem);
	r->cert_pem = rig_text(&resp->worker_cert_pem);
	obj_free(resp);
	return r;
}

static inline struct rig *rig_with_cluster(void)
{
	return rig_with_spec(NULL);
}

static inline void rig_wait_serving(struct rig *r)
{
	while (!sm_is(&r->m.life, MANAGER_SERVING))
		uv_run(&r->loop, UV_RUN_ONCE);
}

static inline void rig_wait_reconciled(struct rig *r)
{
	while (r->m.dirty || r->m.scheduled || r->m.committing)
		uv_run(&r->loop, UV_RUN_ONCE);
}

static inline void rig_on_committed(void *arg, const struct err *e)
{
	*(int *)arg = e->code;
}

static inline void rig_commit(struct rig *r, struct tx *tx)
{
	int code = 1;

	tx_allow_split(tx);
	store_commit(r->m.ctx.store, tx, rig_on_committed, &code);
	while (code == 1)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_int_equal(code, 0);
}

static inline char *rig_token(struct rig *r, bool manager)
{
	Gs__JoinTokensRequest req = GS__JOIN_TOKENS_REQUEST__INIT;
	Gs__JoinTokensResponse *resp = rig_call_ok(r, CONTROL_JOIN_TOKENS, &req);
	char *text = xstrdup(manager ? resp->manager : resp->worker);

	obj_free(resp);
	return text;
}

/* A connection over TLS to the manager; *slot becomes NULL when it is closed. */
static inline struct rpc_client *rig_dial(struct rig *r, struct tls_identity *identity,
					  struct rpc_client **slot)
{
	struct rpc_client_config config = {.ip = "127.0.0.1",
					   .port = r->port,
					   .identity = identity,
					   .connect_timeout_ms = RIG_PATIENCE_MS,
					   .bind_ip = r->source,
					   .on_state = rig_on_state,
					   .arg = slot};

	return *slot = rpc_client_new(&r->loop, &config);
}

static inline void rig_hang_up(struct rig *r, struct rpc_client **slot)
{
	if (*slot)
		rpc_client_close(*slot);
	while (*slot)
		uv_run(&r->loop, UV_RUN_ONCE);
}

/* Join with a token; the key is written to *ret_key. NULL and *e when refused. */
static inline Gs__IssueResponse *rig_join_as(struct rig *r, const char *token, const char *request_id,
					     Gs__NodeDescription *d, char **ret_key, struct err *e)
{
	Gs__IssueRequest req = GS__ISSUE_REQUEST__INIT;
	cleanup_free char *csr = NULL;
	struct tls_identity *identity;
	struct join_token parsed;
	struct rpc_client *c;
	void *resp;

	if (!*ret_key)
		assert_int_equal(tls_key_new(ret_key, NULL), 0);
	assert_int_equal(tls_csr_new(*ret_key, "", &csr, NULL), 0);
	assert_int_equal(join_token_parse(token, &parsed, NULL), 0);
	assert_int_equal(tls_identity_new_pinned(parsed.digest, &identity, NULL), 0);
	req.token = (char *)token;
	req.request_id = (char *)request_id;
	req.description = d;
	req.worker_csr_pem = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	rig_dial(r, identity, &c);
	resp = rig_call_on(r, c, RPC_CA, CA_ISSUE, &req, e);
	rig_hang_up(r, &c);
	tls_identity_unref(identity);
	return resp;
}

static inline Gs__IssueResponse *rig_join(struct rig *r, const char *token, const char *request_id,
					  const char *hostname, char **ret_key, struct err *e)
{
	cleanup(obj_free_p) Gs__NodeDescription *d = rig_description(hostname, 112);

	return rig_join_as(r, token, request_id, d, ret_key, e);
}
