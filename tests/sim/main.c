// SPDX-License-Identifier: Apache-2.0
/* sim [--seeds N] [--seed S] [--trace] [--break RULE] [--self-test]
 *
 * The happy path is: each seed makes a swarm, disturbs it, leaves it in peace and finds it converged. A
 * violation prints the seed and the last steps, and ends with 1. --self-test leaves one rule of the
 * controller out at a time and expects a violation: a checker that cannot fail checks nothing. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

static const struct {
	const char *name;
	unsigned bit;
	bool rare; /* shows too seldom for the default run: by hand, with many seeds */
} rules[] = {
	{"token", GALERA_RULE_TOKEN},     {"unseen", GALERA_RULE_UNSEEN},
	{"source", GALERA_RULE_SOURCE},   {"evidence", GALERA_RULE_EVIDENCE},
	{"fork", GALERA_RULE_FORK, true}, {"leave", GALERA_RULE_LEAVE},
	{"primary", GALERA_RULE_PRIMARY}, {"late-pc", GALERA_RULE_LATE_PC, true},
};

static bool settled(struct sim *s)
{
	s->probing = true;
	check_end(s);
	bool ok = !s->failed;
	s->failed = s->probing = false;
	return ok;
}

static void run_until(struct sim *s, int64_t ms)
{
	while (step(s, ms))
		;
	if (!s->failed && now(s) < ms)
		clock_virtual_advance(&s->vc, ms - now(s));
}

static void converge(struct sim *s)
{
	int64_t end = now(s) + 900000;

	faults_heal(s);
	while (!s->failed && now(s) < end) {
		run_until(s, now(s) + 5000);
		if (s->failed)
			return;
		if (settled(s))
			break;
	}
	if (!s->failed)
		check_end(s);
}

static void quiet(struct sim *s)
{
	s->clients = false;
	run_until(s, now(s) + 100000); /* released addresses are kept back for a while */
	size_t before = s->n_log;
	run_until(s, now(s) + 60000);
	if (!s->failed && s->n_log != before)
		fail(s, "an idle swarm wrote %zu log entries in a minute", s->n_log - before);
}

static void setup(struct sim *s, uint64_t seed, unsigned broken, bool verbose)
{
	memset(s, 0, sizeof(*s));
	s->seed = s->rng = seed;
	s->verbose = verbose;
	s->vc = (struct clock_virtual){.mono_ms = 1000, .wall_ms = 1700000000000};
	s->clock = clock_virtual_of(&s->vc);
	s->m.rules.broken = broken;
	s->m.rules.join_parallel = 1 + (rnd(s, 4) == 0);
	s->replicas = (unsigned)between(s, 1, NODES);
	if (chance(s, 60))
		s->replicas = 3;
	s->web = (unsigned)between(s, 1, 6);
	for (unsigned i = 0; i < NODES; i++) {
		s->nodes[i].index = i;
		sim_new_id(s, s->nodes[i].id);
		s->nodes[i].up = true;
	}
	manager_start(s);
	world_create(s);
	for (unsigned i = 0; i < NODES; i++)
		worker_boot(s, &s->nodes[i]);
	galera_tick(s);
}

static void teardown(struct sim *s)
{
	s->over = true;
	for (size_t i = 0; i < s->n_heap; i++) {
		if (s->heap[i].fn == deliver_items || s->heap[i].fn == deliver_reports)
			s->heap[i].fn(s, s->heap[i].arg, s->heap[i].tag);
	}
	manager_free(s);
	for (struct wtask *t = s->tasks, *next; t; t = next) {
		next = t->next;
		obj_free(t->row);
		obj_free(t->status);
		free(t);
	}
	for (struct volume *v = s->volumes, *next; v; v = next) {
		next = v->next;
		free(v);
	}
	for (size_t i = 0; i < s->n_log; i++)
		free(s->log[i].data);
	for (size_t i = 0; i < s->n_views; i++)
		free(s->all_views[i]);
	for (size_t i = 0; i < s->n_comps; i++)
		free(s->all_comps[i]);
	free(s->all_views);
	free(s->all_comps);
	free(s->log);
	free(s->heap);
	free(s->lines);
	free(s->trace);
}

static void print_trace(const struct sim *s)
{
	size_t n = s->n_trace < 400 ? s->n_trace : 400, shown = n < 60 ? n : 60;

	for (size_t i = s->n_trace - shown; i < s->n_trace; i++)
		puts(s->trace[i % 400]);
}

struct totals {
	uint64_t steps, boot, elect, pc, ist, sst, blocked, acked, kill, restart;
};

static bool run_seed(uint64_t seed, unsigned broken, bool verbose, bool quietly, struct totals *sum)
{
	struct sim *s = xcalloc(1, sizeof(*s));

	setup(s, seed, broken, verbose);
	faults_start(s);
	run_until(s, now(s) + between(s, 30000, 100000));
	if (!s->failed)
		converge(s);
	if (!s->failed)
		quiet(s);
	bool ok = !s->failed;
	if (!ok && !quietly) {
		if (!verbose)
			print_trace(s);
		printf("sim: seed %llu: %s\n", (unsigned long long)seed, s->why);
	}
	sum->steps += s->steps;
	sum->boot += s->n_boot;
	sum->elect += s->n_elect;
	sum->pc += s->n_pc;
	sum->ist += s->n_ist;
	sum->sst += s->n_sst;
	sum->blocked += s->n_blocked > 0;
	sum->acked += s->n_acked;
	sum->kill += s->n_kill;
	sum->restart += s->n_restart;
	teardown(s);
	free(s);
	return ok;
}

static int self_test(uint64_t seeds)
{
	int missed = 0;

	for (size_t r = 0; r < array_size(rules); r++) {
		struct totals sum = {0};
		uint64_t seed = 1;

		if (rules[r].rare)
			continue;
		while (seed <= seeds && run_seed(seed, rules[r].bit, false, true, &sum))
			seed++;
		if (seed > seeds) {
			printf("without rule %s: not noticed in %llu seeds\n", rules[r].name,
			       (unsigned long long)seeds);
			missed++;
		} else {
			printf("without rule %s: noticed at seed %llu\n", rules[r].name,
			       (unsigned long long)seed);
		}
	}
	return missed;
}

static unsigned rule_bit(const char *name)
{
	for (size_t i = 0; i < array_size(rules); i++) {
		if (strcmp(rules[i].name, name) == 0)
			return rules[i].bit;
	}
	fprintf(stderr, "sim: no rule %s\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	uint64_t seeds = 1000, first = 1;
	unsigned broken = 0;
	bool trace = false, self = false;
	struct totals sum = {0};

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
			seeds = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			first = strtoull(argv[++i], NULL, 10), seeds = 1;
		else if (strcmp(argv[i], "--break") == 0 && i + 1 < argc)
			broken |= rule_bit(argv[++i]);
		else if (strcmp(argv[i], "--trace") == 0)
			trace = true;
		else if (strcmp(argv[i], "--self-test") == 0)
			self = true;
		else
			return fprintf(stderr, "usage: sim [--seeds N] [--seed S] [--trace] [--break RULE] "
					       "[--self-test]\n"),
			       2;
	}
	if (self)
		return self_test(seeds) ? 1 : 0;
	for (uint64_t seed = first; seed < first + seeds; seed++) {
		if (!run_seed(seed, broken, trace, false, &sum))
			return 1;
	}
	printf("%llu seeds, %llu steps: %llu acknowledged writes, %llu kills, %llu manager restarts, %llu "
	       "bootstraps, "
	       "%llu epochs, %llu pc.bootstraps, %llu IST, %llu SST, %llu runs blocked for a while\n",
	       (unsigned long long)seeds, (unsigned long long)sum.steps, (unsigned long long)sum.acked,
	       (unsigned long long)sum.kill, (unsigned long long)sum.restart, (unsigned long long)sum.boot,
	       (unsigned long long)sum.elect, (unsigned long long)sum.pc, (unsigned long long)sum.ist,
	       (unsigned long long)sum.sst, (unsigned long long)sum.blocked);
	return 0;
}
