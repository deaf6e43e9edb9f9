// SPDX-License-Identifier: Apache-2.0
/* The happy path: a look finds that the process has been idle but has touched many pages since the last
 * time, and gives them back. Nothing can fail: a range that the kernel refuses stays as it is.
 *
 * What it costs: some 60 minor faults for a daemon's idle set, 200 when everything is used again (0.05 to
 * 0.2 ms), at most once in ten seconds and not while there is work: a process that used a hundredth of a core
 * is left alone, and so is one that has only its idle set mapped (few faults since the last time).
 *
 * Why it is safe: only whole pages of segments that the program header calls not writable are unmapped. They
 * are mapped from a file and were never written, so what comes back is what was there. Relocated data
 * (.data.rel.ro, the GOT) lies in writable segments, which stay; an object with relocations in its text is
 * left out. Breakpoints and uprobes are writes into such pages: set them again after a look. */
#include "base/settle.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/mem.h"

#define LOOK_MS 10000
#define IDLE_CPU_SHARE 100 /* idle: less than 1/100 of a core since the last look */
#define FEW_FAULTS 150     /* an idle daemon maps its own set again with about 60 */

struct settle {
	struct loop_timer timer;
	uint64_t looked_ms, cpu_ms; /* at the last look */
	long faults;                /* after the last time pages were given back */
};

static bool has_text_relocations(const struct dl_phdr_info *o)
{
	for (int i = 0; i < o->dlpi_phnum; i++) {
		const ElfW(Dyn) * d;

		if (o->dlpi_phdr[i].p_type != PT_DYNAMIC)
			continue;
		d = (const ElfW(Dyn) *)(o->dlpi_addr + o->dlpi_phdr[i].p_vaddr);
		for (; d->d_tag != DT_NULL; d++)
			if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && d->d_un.d_val & DF_TEXTREL))
				return true;
	}
	return false;
}

static int drop_object(struct dl_phdr_info *o, size_t size, void *arg)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	/* The vDSO is the kernel's and not from a file. */
	if (o->dlpi_addr == getauxval(AT_SYSINFO_EHDR) || has_text_relocations(o))
		return 0;
	for (int i = 0; i < o->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &o->dlpi_phdr[i];
		uintptr_t from = (o->dlpi_addr + p->p_vaddr + page - 1) & ~(page - 1);
		uintptr_t to = (o->dlpi_addr + p->p_vaddr + p->p_filesz) & ~(page - 1);

		if (p->p_type == PT_LOAD && !(p->p_flags & PF_W) && from < to)
			madvise((void *)from, to - from, MADV_DONTNEED);
	}
	return 0;
}

void settle_now(void)
{
	malloc_trim(0);
	dl_iterate_phdr(drop_object, NULL);
}

static uint64_t cpu_ms(const struct rusage *u)
{
	return (uint64_t)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000 +
	       (uint64_t)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1000;
}

static void on_look(void *arg)
{
	struct settle *s = arg;
	uint64_t now = uv_now(s->timer.uv.loop), span = now - s->looked_ms, busy;
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	busy = cpu_ms(&u) - s->cpu_ms;
	s->looked_ms = now;
	s->cpu_ms = cpu_ms(&u);
	if (busy * IDLE_CPU_SHARE >= span || u.ru_minflt - s->faults < FEW_FAULTS)
		return;
	settle_now();
	s->faults = u.ru_minflt;
}

struct settle *settle_new(uv_loop_t *loop)
{
	struct settle *s = xcalloc(1, sizeof(*s));

	s->looked_ms = uv_now(loop);
	loop_timer_init(&s->timer, loop, on_look, s);
	loop_timer_every(&s->timer, LOOK_MS, LOOK_MS);
	return s;
}

static void on_closed(void *arg)
{
	free(arg);
}

void settle_free(struct settle *s)
{
	if (s)
		loop_timer_close(&s->timer, on_closed);
}
