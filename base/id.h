// SPDX-License-Identifier: Apache-2.0
/* Object ids: 128 random bits as 25 characters of base 36 (the form Docker Swarm's users know). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_LEN 25
#define ID_SHORT_LEN 12

/* From the kernel's random numbers; never fails. */
void id_new(char ret_id[ID_LEN + 1]);
/* The same from 16 given bytes (a simulation's seeded generator). */
void id_from_bytes(const uint8_t bytes[16], char ret_id[ID_LEN + 1]);
/* Has the form of ours: 25 characters 0-9a-z. NULL has not. */
bool id_is_valid(const char *text);
/* len base-36 digits of the big-endian number in bytes, leading zeros kept. Writes len + 1 chars. */
void base36_encode(const uint8_t *bytes, size_t n, size_t len, char *ret_text);
/* getrandom(2), never fails. */
void random_bytes(void *buf, size_t n);
