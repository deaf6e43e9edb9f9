// SPDX-License-Identifier: Apache-2.0
/* What the files of Control share; nobody outside includes it. */
#pragma once
#include "base/bug.h"
#include "manager/context/answer.h"
#include "manager/context/audit.h"
#include "manager/api/api.h"
#include "proto/schema/methods.h"
#include "manager/model/check.h"

#define CONTROL_METHODS (CONTROL_REMOVE_VOLUME + 1)
#define API_MAGIC MAGIC('a', 'p', 'i', ' ')
struct api { /* the argument of every handler below */
	uint32_t magic;
	struct context *ctx;
	struct api_hooks hooks;
	struct watches *watches;
	rpc_handler table[CONTROL_METHODS];
};
/* The context behind a handler's argument; anything else than an api is a bug. */
struct context *api_context(void *api);

/* ---- WatchService streams ---- */
struct watches *watches_new(struct context *ctx); /* ctx outlives it */
void watches_changed(struct watches *w);          /* the store has: tell the watchers soon */
void watches_close(struct watches *w);            /* its timer; idempotent */
void watches_free(struct watches *w);             /* after the loop has run; ends no stream */

/* Each noun puts its handlers (argument: the api; proto/schema/control.proto says what each does) into the table. */
void node_methods(rpc_handler table[CONTROL_METHODS]);    /* node.c */
void network_methods(rpc_handler table[CONTROL_METHODS]); /* network.c */
void service_methods(rpc_handler table[CONTROL_METHODS]); /* service.c */
void watch_methods(rpc_handler table[CONTROL_METHODS]);   /* watch.c */
void galera_methods(rpc_handler table[CONTROL_METHODS]);  /* galera.c */
void volume_methods(rpc_handler table[CONTROL_METHODS]);  /* volume.c */
void dump_methods(rpc_handler table[CONTROL_METHODS]);    /* dump.c */
void events_methods(rpc_handler table[CONTROL_METHODS]);  /* events.c */

/* Answer with as much of resp (rows borrowed; it is as before when this returns) as fits into one page after the
 * place `after`; next is resp's field of that name. One row is always smaller than a page. */
#define PAGE_BYTES (3u << 20)
/* Ends the call. */
void page_reply(struct rpc_call *call, void *resp, char **next, const char *after);

/* A detail whose rows are borrowed from the store: valid until the next turn of the loop; free the lists. */
struct detail {
	Gs__ServiceDetail msg;
	Gs__Task **tasks; /* of detail_fit: the list, and copies without specs */
	Gs__Task *slim;
};
/* Fills *ret, whatever was in it. */
void detail_of_service(const struct store *s, const Gs__Service *service, struct detail *ret);
/* Leave out what a watcher can do without until the detail fits into one message: tasks that have ended, then
 * the tasks' specs. E_LIMIT: it does not fit even so. */
int detail_fit(struct detail *d, struct err *e);
void detail_fini(struct detail *d); /* its lists, not the rows */

/* Everything a Galera service needs beside its own row, added to tx. password: root's, or NULL. */
void galera_create_rows(struct tx *tx, const struct clock *clock, Gs__Service *service,
			const char *root_password);
