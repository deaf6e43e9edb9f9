// SPDX-License-Identifier: Apache-2.0
/* Connections to the daemons of this host.
 *
 * The happy path is one call on a unix socket. What can fail: no daemon (said with what to start), no
 * permission (said with the group), a node that is no manager (said with a manager's address), and whatever
 * the daemon answers. */
#include "cli/client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "cli/output/json.h"
#include "cli/pages.h"
#include "proto/rpc/sync.h"

/* A manager answers what it can at once; joining and leaving wait for a start of the manager. */
#define CALL_DEADLINE_MS 60000

void message_free_p(void *p)
{
	ProtobufCMessage *m = *(ProtobufCMessage **)p;

	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

static bool is_absent(int code)
{
	return code == -ENOENT || code == -ECONNREFUSED || code == E_UNAVAILABLE;
}

static int connect_worker(struct cmd *c, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/worker.sock", c->run_dir);

	if (c->worker || !rpc_sync_connect(path, &c->worker, e))
		return 0;
	if (is_absent(e->code))
		return err_set(e, E_UNAVAILABLE,
			       "gswarm-worker is not running on this host (%s): start it as root with "
			       "'gswarm-worker', or its service",
			       path);
	return e->code;
}

/* Why there is no manager to talk to here, as well as the worker can tell. */
static int explain_no_manager(struct cmd *c, const char *path, struct err *e)
{
	Gs__Empty req = GS__EMPTY__INIT;
	cleanup_message Gs__NodeStatusResponse *s = NULL;
	struct err local = {0};

	if (client_call(c, DAEMON_WORKER, NODE_LOCAL_STATUS, &req, &s, &local) < 0)
		return err_set(e, local.code, "%s", local.msg);
	if (!s->is_member && *s->trouble)
		return err_set(e, E_NOT_MANAGER, "%s", s->trouble);
	if (!s->is_member)
		return err_set(e, E_NOT_MANAGER,
			       "this node is not part of a swarm: use 'gswarm init' to make one or 'gswarm "
			       "join' to enter one");
	if (s->role == ROLE_MANAGER)
		return err_set(e, E_UNAVAILABLE,
			       "this node's manager does not answer on %s yet: try again in a second, "
			       "or look at its log",
			       path);
	const char *where = s->n_managers ? s->managers[0] : s->manager_addr;
	return err_set(e, E_NOT_MANAGER, "this node is a worker, not a manager: run this on a manager%s%s",
		       *where ? ", e.g. at " : "", where);
}

static int connect_manager(struct cmd *c, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/manager.sock", c->run_dir);

	if (c->manager || !rpc_sync_connect(path, &c->manager, e))
		return 0;
	if (is_absent(e->code))
		return explain_no_manager(c, path, e);
	return e->code;
}

/* One call, or as many as its answer has pages. */
static int call_pages(struct rpc_sync *s, unsigned service, unsigned method, const ProtobufCMessage *req,
		      ProtobufCMessage **ret, struct err *e)
{
	const ProtobufCMessageDescriptor *type = rpc_service_descriptor(service)->methods[method].input;
	int rc = rpc_sync_call(s, service, method, req, CALL_DEADLINE_MS, ret, e);

	while (rc == 0 && *ret && *page_next(*ret)) {
		cleanup(message_free_p) ProtobufCMessage *again = page_request(type, req, page_next(*ret));
		cleanup(message_free_p) ProtobufCMessage *more = NULL;

		rc = again ? rpc_sync_call(s, service, method, again, CALL_DEADLINE_MS, &more, e)
			   : err_set(e, E_PROTOCOL, "the manager answers in pages that cannot be asked for");
		if (rc == 0)
			page_append(*ret, more);
	}
	if (rc < 0 && *ret) {
		protobuf_c_message_free_unpacked(*ret, NULL);
		*ret = NULL;
	}
	return rc;
}

int client_call(struct cmd *c, enum daemon d, unsigned method, const void *req, void *ret_resp, struct err *e)
{
	bug_if(!req);
	ProtobufCMessage *resp = NULL;
	int r = d == DAEMON_WORKER ? connect_worker(c, e) : connect_manager(c, e);

	if (r < 0)
		return r;
	r = call_pages(d == DAEMON_WORKER ? c->worker : c->manager,
		       d == DAEMON_WORKER ? RPC_NODE_LOCAL : RPC_CONTROL, method, req, &resp, e);
	if (r < 0)
		return r;
	if (ret_resp)
		*(void **)ret_resp = resp;
	else if (resp)
		protobuf_c_message_free_unpacked(resp, NULL);
	return 0;
}

int client_stream(struct cmd *c, unsigned method, const void *req,
		  bool (*on_event)(const ProtobufCMessage *event, void *arg), bool (*tick)(void *arg),
		  void *arg, struct err *e)
{
	if (connect_manager(c, e) < 0)
		return e->code;
	return rpc_sync_stream(c->manager, RPC_CONTROL, method, req, on_event, tick, arg, e);
}

static bool is_refusal(int code)
{
	return code == E_NOT_FOUND || code == E_IN_USE || code == E_INVALID || code == E_EXISTS ||
	       code == E_LIMIT || code == E_STALE_VERSION;
}

/* It is about this one only. A manager that is there says "unavailable" of what it was asked about, e.g. of a volume
 * whose node is down. */
static bool may_go_on(const struct cmd *c, int code)
{
	return is_refusal(code) || (code == E_UNAVAILABLE && c->manager);
}

int for_each_arg(struct cmd *c, int (*one)(struct cmd *c, const char *arg, struct err *e), struct err *e)
{
	int rc = 0;

	bug_if(!c->n_args);
	for (size_t i = 0; i < c->n_args; i++) {
		int r = one(c, c->args[i], e);

		if (r < 0 && (!may_go_on(c, r) || i + 1 == c->n_args))
			return r;
		if (r < 0) {
			fprintf(stderr, "gswarm: %s\n", e->msg);
			err_clear(e);
		}
		if (r == CLI_INTERRUPTED)
			return r;
		rc = rc || r;
	}
	return rc;
}

int inspect_args(struct cmd *c, int (*fetch)(struct cmd *c, const char *arg, const void **ret, struct err *e),
		 void (*pretty)(const void *message), struct err *e)
{
	cleanup_free const void **found = xcalloc(c->n_args + 1, sizeof(void *));
	bool is_pretty = pretty && opt_is_set(c, "pretty");
	int rc = 0, r = 0;
	size_t n = 0;

	if (is_pretty && opt_is_set(c, "format"))
		return err_set(e, CLI_USAGE, "--pretty and --format exclude each other");

	for (size_t i = 0; i < c->n_args && (r >= 0 || is_refusal(r)); i++) {
		r = fetch(c, c->args[i], &found[n], e);
		if (r >= 0) {
			bug_if(!found[n]);
			n++;
			continue;
		}
		if (is_refusal(r))
			fprintf(stderr, "gswarm: %s\n", e->msg);
		rc = 1;
	}
	for (size_t i = 0; i < n && is_pretty; i++)
		pretty(found[i]);
	if (!is_pretty && n)
		json_print_array(found, n);
	for (size_t i = 0; i < n; i++)
		message_free_p(&found[i]);
	return r < 0 && !is_refusal(r) ? r : rc;
}

void client_close(struct cmd *c)
{
	if (c->worker)
		rpc_sync_close(c->worker);
	if (c->manager)
		rpc_sync_close(c->manager);
	c->worker = c->manager = NULL;
}

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t pressed;

static void on_interrupt(int sig)
{
	pressed = 1;
}

void interrupt_catch(void)
{
	pressed = 0;
	signal(SIGINT, on_interrupt);
}

void interrupt_release(void)
{
	signal(SIGINT, SIG_DFL);
}

bool interrupted(void)
{
	return pressed != 0;
}
