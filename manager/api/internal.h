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

/* A detail whose rows are borrowed from the store: valid until the next turn of the loop; free the lists. */
struct detail {
	Gs__ServiceDetail msg;
};
void detail_of_service(const struct store *s, const Gs__Service *service, struct detail *ret);
void detail_fini(struct detail *d);

/* Everything a Galera service needs beside its own row, added to tx. password: root's, or NULL. */
void galera_create_rows(struct tx *tx, Gs__Service *service, const char *root_password);
