// SPDX-License-Identifier: Apache-2.0
/* One target: libFuzzer calls it with clang, replay.c with any compiler. It asserts what must hold for any
 * bytes, leaks nothing and keeps no state. */
#pragma once
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
