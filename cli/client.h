// SPDX-License-Identifier: Apache-2.0
/* Calls to the daemons of this host. A connection is opened at the first call and kept until
 * client_close. All block. */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/mem.h"
#include "cli/opt.h"
#include "proto/schema/control.pb-c.h"
#include "proto/schema/node.pb-c.h"
#include "proto/value/obj.h"
#include "proto/rpc/rpc.h"

enum daemon { DAEMON_WORKER, DAEMON_MANAGER };
/* method: its number from the .proto (CONTROL_LIST_NODES). *ret_resp (may be NULL) is the caller's, by
 * cleanup_message. A daemon that does not answer is an error that says what to start. */
int client_call(struct cmd *c, enum daemon d, unsigned method, const void *req, void *ret_resp,
		struct err *e);
/* A stream from the manager. on_event and tick (ten times a second) return false to stop: then 0. */
int client_stream(struct cmd *c, unsigned method, const void *req,
		  bool (*on_event)(const ProtobufCMessage *event, void *arg), bool (*tick)(void *arg),
		  void *arg, struct err *e);
/* Closes what is open; fine when nothing is. */
void client_close(struct cmd *c);
/* For cleanup(): frees an answer. */
void message_free_p(void *p);
#define cleanup_message cleanup(message_free_p)

/* Do `one` for every argument; what the managers refuse is told and does not keep the others from being done.
 * 1: something was refused. */
int for_each_arg(struct cmd *c, int (*one)(struct cmd *c, const char *arg, struct err *e), struct err *e);
/* Inspect every argument: what `fetch` finds is printed, by `pretty` if that is asked for (and not
 * NULL), as one JSON array otherwise; what it does not find is told. 1: not all were found. */
int inspect_args(struct cmd *c, int (*fetch)(struct cmd *c, const char *arg, const void **ret, struct err *e),
		 void (*pretty)(const void *message), struct err *e);

/* ---- Ctrl-C while a stream is read ---- */
/* From now on Ctrl-C does not end the program but makes interrupted() true. */
void interrupt_catch(void);
/* Ctrl-C ends the program again. */
void interrupt_release(void);
/* Since interrupt_catch. */
bool interrupted(void);
