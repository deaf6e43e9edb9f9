// SPDX-License-Identifier: Apache-2.0
/* The whole state as bytes: StoreSnapshot (tables in the order of enum obj_kind, rows in id order, hence
 * equal on every replica) and the SHA-256 of it as the last 32 bytes (libraft keeps no checksum of snapshot
 * data).
 *
 * The happy path is: check the sum, unpack, build fresh tables, swap them in. What can fail is: a wrong sum
 * or rows that cannot be (E_CORRUPT), a newer format (E_PROTOCOL); the state is untouched then. */
#include <openssl/evp.h>
#include <string.h>

#include "base/mem.h"
#include "manager/store/internal.h"

#define SUM_LEN 32
#define SNAPSHOT_FORMAT 1

static void sha256(const uint8_t *data, size_t len, uint8_t ret_sum[SUM_LEN])
{
	unsigned n = SUM_LEN;
	int ok = EVP_Digest(data, len, ret_sum, &n, EVP_sha256(), NULL);

	bug_if(ok != 1 || n != SUM_LEN);
}

void snapshot_make(struct store *s, uint8_t **ret_data, size_t *ret_len)
{
	Gs__StoreSnapshot snap = GS__STORE_SNAPSHOT__INIT;
	cleanup_free Gs__StoreObject *objects = NULL;
	cleanup_free Gs__StoreObject **list = NULL;
	size_t total = 0, n = 0, len;

	for (int kind = OBJ_NONE + 1; kind < OBJ_KINDS; kind++)
		total += s->tables[kind].n;
	objects = xcalloc(total, sizeof(*objects));
	list = xcalloc(total, sizeof(Gs__StoreObject *));
	for (int kind = OBJ_NONE + 1; kind < OBJ_KINDS; kind++)
		for (size_t i = 0; i < s->tables[kind].n; i++, n++) {
			obj_wrap(&objects[n], kind, s->tables[kind].rows[i]);
			list[n] = &objects[n];
		}
	snap.objects = list;
	snap.n_objects = n;
	snap.index = s->index;
	snap.format = SNAPSHOT_FORMAT;
	len = gs__store_snapshot__get_packed_size(&snap);
	*ret_data = xmalloc(len + SUM_LEN);
	*ret_len = gs__store_snapshot__pack(&snap, *ret_data) + SUM_LEN;
	bug_if(*ret_len != len + SUM_LEN || n != total);
	sha256(*ret_data, len, *ret_data + len);
}

/* Move the rows out of the message into s. */
static int take_rows(Gs__StoreSnapshot *snap, struct store *s, struct err *e)
{
	for (size_t i = 0; i < snap->n_objects; i++) {
		Gs__StoreObject *o = snap->objects[i];
		void *row = obj_unwrap(o);
		enum obj_kind kind;

		if (!row)
			return err_set(e, E_PROTOCOL,
				       "snapshot: object %zu is of a kind this version does not know", i);
		kind = obj_kind_of(row);
		if (!obj_meta(row) || !*row_id(row))
			return err_set(e, E_CORRUPT, "snapshot: a %s without id", obj_kind_name(kind));
		if (table_get(&s->tables[kind], row_id(row)))
			return err_set(e, E_CORRUPT, "snapshot: two %s %s", obj_kind_name(kind), row_id(row));
		o->kind_case = KIND_NOT_SET;
		store_swap(s, kind, NULL, row);
	}
	return 0;
}

static void free_state(struct store *s)
{
	for (int i = 0; i < INDEX_COUNT; i++)
		index_fini(&s->indexes[i]);
	for (int kind = 0; kind < OBJ_KINDS; kind++)
		table_fini(&s->tables[kind]);
}

int snapshot_read(struct store *s, const uint8_t *data, size_t len, struct err *e)
{
	struct store fresh = {0}, old = *s;
	Gs__StoreSnapshot *snap;
	uint8_t sum[SUM_LEN];
	int rc;

	bug_if_off_loop();
	bug_if(s->notifying);
	if (len < SUM_LEN)
		return err_set(e, E_CORRUPT, "snapshot: %zu bytes are too few", len);
	sha256(data, len - SUM_LEN, sum);
	if (memcmp(sum, data + len - SUM_LEN, SUM_LEN) != 0)
		return err_set(e, E_CORRUPT, "snapshot: checksum does not match");
	snap = gs__store_snapshot__unpack(NULL, len - SUM_LEN, data);
	if (!snap)
		return err_set(e, E_CORRUPT, "snapshot: cannot be decoded");
	if (snap->format > SNAPSHOT_FORMAT)
		rc = err_set(e, E_PROTOCOL, "snapshot: format %u is newer than this version's %d",
			     snap->format, SNAPSHOT_FORMAT);
	else
		rc = take_rows(snap, &fresh, e);
	if (rc == 0) {
		memcpy(s->tables, fresh.tables, sizeof(s->tables));
		memcpy(s->indexes, fresh.indexes, sizeof(s->indexes));
		s->index = snap->index;
	}
	free_state(rc == 0 ? &old : &fresh);
	gs__store_snapshot__free_unpacked(snap, NULL);
	return rc;
}
