// SPDX-License-Identifier: Apache-2.0
/* What the files of Control share; nobody outside includes it. */
#pragma once
#include "manager/api/api.h"
#include "manager/model/check.h"

void on_init_cluster(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_create_network(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_list_networks(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_inspect_network(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_remove_network(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_create_service(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_update_service(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_scale_service(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_remove_service(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_list_services(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_inspect_service(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_list_tasks(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_watch_service(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_galera_status(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_galera_recover(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_dump(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_list_events(struct rpc_call *call, const ProtobufCMessage *req, void *arg);

/* The event that says who made the change that tx is, by uid and process (SO_PEERCRED): "service web created by
 * uid 1000 (pid 4711)". Part of the same entry, so no change is without it. */
void audit_add(struct manager *m, struct tx *tx, struct rpc_call *call, const char *kind,
	       const char *object_id, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* Answer with as much of resp (rows borrowed; it is as before when this returns) as fits into one page after the
 * place `after`; next is resp's field of that name. One row is always smaller than a page. */
#define PAGE_BYTES (3u << 20)
void page_reply(struct rpc_call *call, void *resp, char **next, const char *after);

/* A detail whose rows are borrowed from the store: valid until the next turn of the loop; free the lists. */
struct detail {
	Gs__ServiceDetail msg;
	Gs__Task **tasks; /* of detail_fit: the list, and copies without specs */
	Gs__Task *slim;
};
void detail_of_service(const struct store *s, const Gs__Service *service, struct detail *ret);
/* Leave out what a watcher can do without until the detail fits into one message: tasks that have ended, then
 * the tasks' specs. E_LIMIT: it does not fit even so. */
int detail_fit(struct detail *d, struct err *e);
void detail_fini(struct detail *d);

/* Everything a Galera service needs beside its own row, added to tx. password: root's, or NULL. */
void galera_create_rows(struct tx *tx, const struct clock *clock, Gs__Service *service,
			const char *root_password);
