// SPDX-License-Identifier: Apache-2.0
/* The statements that give a new cluster its accounts; pure. */
#pragma once
#include "base/buf.h"
#include "proto/value/obj.h"

struct genesis_accounts {
	const char *root, *health, *sst, *admin; /* passwords; root "" means an empty one was asked for */
	const char *root_host;                   /* "%" */
	const char *database, *user, *password;  /* MYSQL_DATABASE, MYSQL_USER, MYSQL_PASSWORD; "" none */
};
/* Ends with SHUTDOWN: run as an init file, the server stops by itself. */
void genesis_sql_format(const struct genesis_accounts *a, struct buf *out);
/* Value of MYSQL_<name> or MARIADB_<name> in "K=V" texts, "" when absent. */
const char *genesis_env(const Gs__TaskSpec *spec, const char *name);
