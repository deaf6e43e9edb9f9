// SPDX-License-Identifier: Apache-2.0
/* A growing byte buffer, and a reading cursor with a sticky error: read ten fields, test once. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len, cap;
};

/* Frees the bytes; the buffer is empty then and may be used again. */
void buf_fini(struct buf *b);
/* Room for n more bytes; returns where they start. len is unchanged. */
uint8_t *buf_reserve(struct buf *b, size_t n);
/* Copies n bytes to the end. */
void buf_append(struct buf *b, const void *data, size_t n);
/* Text to the end, without its NUL. */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drop the first n bytes. */
void buf_consume(struct buf *b, size_t n);
/* To the end, big endian, as all our wire fields. */
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v); /* big endian, as all our wire fields */
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v); /* As buf_u8. */
/* NUL-terminate (not counted in len) and hand out as text. */
char *buf_text(struct buf *b);

struct cur {
	const uint8_t *data;
	size_t len, pos;
	bool bad; /* a read went past the end; every later read gives 0 */
};

/* Reads from data, which stays the caller's and must outlive the cursor. */
struct cur cur_of(const void *data, size_t len);
/* The next number, big endian; 0 and bad when the input ends before it does. */
uint8_t cur_u8(struct cur *c);
uint16_t cur_u16(struct cur *c); /* As cur_u8. */
uint32_t cur_u32(struct cur *c); /* As cur_u8. */
uint64_t cur_u64(struct cur *c); /* As cur_u8. */
/* n bytes borrowed from the input, or NULL and bad. */
const uint8_t *cur_bytes(struct cur *c, size_t n);
