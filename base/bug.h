// SPDX-License-Identifier: Apache-2.0
/* Checks of what only our own mistake can make untrue. They are on in release builds: a manager is replicated
 * and tasks outlive their worker, so a daemon that stops at once does less harm than one that goes on
 * wrongly. A peer's, a user's or the kernel's word is never checked this way; that is an error with a
 * message.
 *
 *   bug_if(cond)                     ends the program when cond is true: one test and an unlikely jump
 *   bug_if_off_loop()                in code that belongs to the loop's thread
 *   magic_set / magic_of / magic_end an object that travels through a void *
 *   take_once(p)                     a callback or a reference that is used up exactly once
 *   dl_is_linked / dl_add / dl_drop  an element of a utlist DL list is in one list or in none */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Logs "bug: <expression> at <file>:<line> in <function>" and the last moves of the state machines
 * (base/sm.h), then aborts. Any thread. */
_Noreturn void bug_die(const char *expression, const char *file, int line, const char *function)
	__attribute__((cold));

#define bug_if(cond)                                                                                         \
	do {                                                                                                 \
		if (__builtin_expect(!!(cond), 0))                                                           \
			bug_die(#cond, __FILE__, __LINE__, __func__);                                        \
	} while (0)

/* ---- threads ---- */

/* A thread that is no loop's says so once, for itself (loop_work does it for the pool). */
void bug_job_begin(void);
/* It is no job any more. */
void bug_job_end(void);
/* Whether the calling thread is one. */
bool bug_in_job(void);
#define bug_if_off_loop() bug_if(bug_in_job())

/* ---- objects behind a void * ----
 * struct foo { uint32_t magic; ... };      #define FOO_MAGIC MAGIC('f', 'o', 'o', ' ')
 * magic_set(f, FOO_MAGIC) once it is made, magic_end(f) just before free,
 * struct foo *f = magic_of(struct foo, FOO_MAGIC, arg) at the border. */
#define MAGIC(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))
#define magic_set(p, value) ((void)((p)->magic = (value)))
#define magic_is(p, value) ((p) && (p)->magic == (value))
#define magic_of(type, value, arg)                                                                           \
	({                                                                                                   \
		type *object_ = (arg);                                                                       \
		bug_if(!magic_is(object_, value));                                                           \
		object_;                                                                                     \
	})
/* The volatile keeps the compiler from dropping a store to memory that is freed next. */
#define magic_end(p) ((void)(*(volatile uint32_t *)&(p)->magic = 0xdeadbeef))

/* ---- used up exactly once ---- */
#define take_once(p)                                                                                         \
	({                                                                                                   \
		typeof(p) taken_ = (p);                                                                      \
		bug_if(!taken_);                                                                             \
		(p) = NULL;                                                                                  \
		taken_;                                                                                      \
	})

/* ---- utlist's doubly linked lists: prev of a linked element is never NULL; include <utlist.h> ---- */
#define dl_is_linked(el) ((el)->prev)
#define dl_add(head, el)                                                                                     \
	do {                                                                                                 \
		bug_if(dl_is_linked(el));                                                                    \
		DL_APPEND(head, el);                                                                         \
	} while (0)
#define dl_drop(head, el)                                                                                    \
	do {                                                                                                 \
		bug_if(!(head) || !dl_is_linked(el));                                                        \
		DL_DELETE(head, el);                                                                         \
		(el)->prev = (el)->next = NULL;                                                              \
	} while (0)
