// SPDX-License-Identifier: Apache-2.0
/* Allocation that aborts on out of memory (every decoder checks a declared size against a limit before
 * it allocates), scope clean-up and ownership transfer. */
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

/* As malloc and its kin, but the program ends when there is no memory. The caller frees. */
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size); /* As xmalloc; zeroed. */
void *xrealloc(void *p, size_t n);    /* As xmalloc; p is gone or is the result. */
char *xstrdup(const char *s);         /* NULL gives NULL */
void *xmemdup(const void *p, size_t n);
/* The text, for the caller to free. */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *xvasprintf(const char *fmt, va_list ap); /* As xasprintf. */
/* Replace the owned string *field by a copy of value. Works on protobuf-c string fields too: the shared
 * empty string of protobuf-c is never freed. */
void str_replace(char **field, const char *value);

static inline void mem_free_p(void *p)
{
	free(*(void **)p);
}
/* For cleanup_close: closes *fd unless it is negative. */
void mem_close_p(int *fd);

#define cleanup(fn) __attribute__((cleanup(fn)))
#define cleanup_free cleanup(mem_free_p)
#define cleanup_close cleanup(mem_close_p)
/* Take the pointer out of a cleanup variable at the point where ownership moves on. */
#define steal(p)                                                                                             \
	({                                                                                                   \
		typeof(p) stolen_ = (p);                                                                     \
		(p) = NULL;                                                                                  \
		stolen_;                                                                                     \
	})
#define array_size(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
