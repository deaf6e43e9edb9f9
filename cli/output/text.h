// SPDX-License-Identifier: Apache-2.0
/* How times, sizes, ids and states read on the screen. Nothing here can fail. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "proto/value/obj.h"

/* "3 minutes", "About an hour"; returns buf. */
const char *text_span(int64_t ms, char *buf, size_t n);
/* "3 minutes ago"; since_ms 0 is "never". */
const char *text_ago(int64_t since_ms, int64_t now_ms, char *buf, size_t n);
/* "1.5GiB" */
const char *text_bytes(uint64_t bytes, char *buf, size_t n);
/* The first twelve characters. */
const char *text_short_id(const char *id, char buf[ID_SHORT_LEN + 1]);
/* heap; at most `limit` bytes (0: all) and then an ellipsis; control characters become blanks. */
char *text_cut(const char *text, size_t limit);
/* Local time, 2026-11-20 14:03:02. */
void text_time(int64_t wall_ms, char *buf, size_t n);
/* Ms since 1970, now. */
int64_t wall_now_ms(void);
/* As people sort: web2 before web10. For qsort of names. */
int text_order(const char *a, const char *b);
/* "Synced", "Donor", "joining", "held: crashed at 1042"; "" for a task that has nothing to tell. heap */
char *text_galera(const Gs__Task *t);
/* Synced in a Primary component and taking queries. */
bool galera_is_ready(const Gs__Task *t);
/* "running": as the json and the progress lines say it. One buffer: good until the next call. */
const char *text_state_word(Gs__TaskState s);
