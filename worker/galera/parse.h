// SPDX-License-Identifier: Apache-2.0
/* What a Galera server leaves in its files and prints, as values. Pure: bytes in, a struct out; nothing here
 * opens a file. Every function accepts any bytes (a torn write, an empty file, megabytes of noise). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define GALERA_UUID_LEN 36
#define GALERA_FILE_MAX (64u << 10) /* grastate.dat, gvwstate.dat, gswarm.json: more is no such file */

struct galera_position {
	char uuid[GALERA_UUID_LEN + 1]; /* lower case; "" when unknown */
	int64_t seqno;                  /* -1: unknown */
};
bool galera_uuid_is_valid(const char *text, size_t len); /* 8-4-4-4-12 hex digits */
bool galera_uuid_is_zero(const char *uuid);
/* "uuid:seqno", followed by the end, white space, ',' or ' <domain>'. */
int galera_position_parse(const char *text, size_t len, struct galera_position *ret);

struct grastate {
	struct galera_position position;
	bool safe_to_bootstrap;
};
/* E_CORRUPT when uuid or seqno is missing or malformed. */
int grastate_parse(const char *text, size_t len, struct grastate *ret, struct err *e);

struct gvwstate {
	char my_uuid[GALERA_UUID_LEN + 1];
	char view_uuid[GALERA_UUID_LEN + 1];
	uint32_t view_seq;
	unsigned members;
};
/* E_CORRUPT for an empty or a torn file; the caller deletes it, it is never needed (pc.recovery is off). */
int gvwstate_parse(const char *text, size_t len, struct gvwstate *ret, struct err *e);

struct recover_result {
	struct galera_position position;
	bool has_position;
	bool prepared; /* "[ERROR] Found N prepared transactions!": no server starts on it */
	char version[64];
};
/* stderr of `mariadbd --wsrep-recover`. Never fails; what was not printed is absent. */
void recover_parse(const char *text, size_t len, struct recover_result *ret);
/* By its exit status and words: something of this host kept the tool from its work (it was killed, the disk is
 * full, no descriptor or memory was left), so it says nothing of the data. */
bool recover_was_hindered(int status, const char *text, size_t len);

/* Of what a server or mariadb-install-db has printed: the last line that says why it failed, cut to n; "Aborting",
 * which ends every such list, is no reason. Without an ERROR the last line that says anything. */
void server_last_words(const char *text, char *ret, size_t n);

enum volume_state { VOLUME_NONE, VOLUME_BUILDING, VOLUME_GENESIS, VOLUME_CLEAN, VOLUME_DIRTY };
/* gswarm.json: whose data this is. */
struct volume_mark {
	enum volume_state state;
	char cluster[33], slot[33], volume[33]; /* object ids */
	uint64_t epoch;                         /* last epoch it was started in; 0: never */
	char uuid[GALERA_UUID_LEN + 1];
	char genesis[65]; /* sha256 of the archive it was unpacked from or packed into, or "" */
	bool whole;       /* what lies there is, or was before something damaged it, a whole copy */
	bool synced; /* since its last start it was Synced, or let bootstrap: it may hold what nobody else does */
	char aside[24]; /* a quarantine is under way into <datadir>.quarantine-<aside>; "" */
};
/* E_CORRUPT, with what is wrong; *ret is untouched then. */
int volume_mark_parse(const char *text, size_t len, struct volume_mark *ret, struct err *e);
/* NUL-terminated JSON; the caller frees it. */
char *volume_mark_format(const struct volume_mark *m);
/* As gswarm.json has it; "?" for a number that is none. */
const char *volume_state_name(enum volume_state s);
