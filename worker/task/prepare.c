// SPDX-License-Identifier: Apache-2.0
/* The happy path is three jobs on the pool: prepare (intent, volumes, root file system, namespace and legs),
 * launch (attempt number, bundle), clean (everything of an ended task). All are idempotent, so an adopted
 * task goes through prepare as a new one does. While a job runs (t->busy) the task is not freed and its plan
 * and bundle are the job's. What can fail is told by prepare_err: E_INVALID, E_IN_USE and a missing path are
 * final, the rest is tried again. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/task/intent.h"
#include "worker/task/impl.h"

struct prepare {
	struct task *t;
	Gs__Task *row;
	char *state_dir, *run_dir, *volumes_dir, *made_dir, *boot_id, *base_run, *base_state;
	struct net_plan *plan; /* the task's; NULL: leave the network alone */
	struct bundle *bundle;
	uint32_t attempt;
	int64_t kill_mono_ms; /* of an attempt whose stop had begun */
	struct err err;
};

static const char *row_hostname(const Gs__Task *row)
{
	return *row->spec->hostname ? row->spec->hostname : row->name;
}

static const char *row_image(const Gs__Task *row)
{
	return *row->spec->image ? row->spec->image : "host";
}

/* A process id means nothing after a reboot: leftovers of an earlier boot are dropped (where /run is no
 * tmpfs). */
static int run_dir_make(struct prepare *p)
{
	cleanup_free char *path = xasprintf("%s/boot", p->run_dir);
	cleanup_free char *text = NULL;

	if (fs_read(path, 128, &text, NULL, NULL) == 0) {
		if (strcmp(text, p->boot_id) == 0)
			return 0;
		rootfs_release(p->run_dir);
		if (fs_remove_all(p->run_dir, &p->err) < 0)
			return p->err.code;
	}
	if (fs_mkdir(p->run_dir, 0711, &p->err) < 0)
		return p->err.code;
	return fs_write(path, p->boot_id, strlen(p->boot_id), 0600, &p->err);
}

/* An image without a user of its own: the number under which the volume's data was made, so that the next task
 * of the slot reads it; new data, and tasks without any, get a number that no other has. */
static void own_user(const struct prepare *p, struct user *ret)
{
	const Gs__TaskSpec *spec = p->row->spec;
	const char *first = NULL;
	uid_t uid;
	gid_t gid;

	for (size_t i = 0; i < spec->n_mounts; i++) {
		const Gs__Mount *m = spec->mounts[i];
		const char *id = m->type == MOUNT_VOLUME ? mounts_volume_id(p->row, m->target) : NULL;

		if (!id || !id_is_valid(id))
			continue;
		if (volume_owner(p->volumes_dir, id, &uid, &gid)) {
			*ret = (struct user){.uid = uid, .gid = gid, .home = xstrdup("/"), .is_own = true};
			return;
		}
		first = first ? first : id;
	}
	user_own(first ? first : p->row->meta->id, ret);
}

static int find_user(struct prepare *p, const char *root)
{
	const char *asked = p->row->spec->user;

	if (p->row->topology == TOPO_GALERA || *asked)
		return user_resolve(root, asked, "mysql", &p->bundle->user, &p->err);
	own_user(p, &p->bundle->user);
	return 0;
}

static int prepare_files(struct prepare *p)
{
	cleanup_free char *etc_dir = xasprintf("%s/etc", p->base_run);
	struct rootfs_spec rootfs = {
		.image = row_image(p->row),
		.run_dir = p->run_dir,
		.etc_dir = etc_dir,
		.state_dir = p->state_dir,
		.hostname = row_hostname(p->row),
		.read_only = p->row->spec->read_only,
	};
	struct mounts_spec mounts = {.task = p->row,
				     .run_dir = p->run_dir,
				     .volumes_dir = p->volumes_dir,
				     .made_dir = p->made_dir,
				     .state_dir = p->base_state,
				     .base_run = p->base_run};
	const char *root;

	if (run_dir_make(p) < 0 || intent_save_task(p->state_dir, p->row, &p->err) < 0 ||
	    rootfs_image_root(rootfs.image, p->base_state, p->base_run, &root, &p->bundle->image, &p->err) <
		    0 ||
	    find_user(p, root) < 0 || rootfs_prepare(p->bundle, &rootfs, &p->err) < 0)
		return p->err.code;
	return mounts_prepare(p->bundle, &mounts, &p->err);
}

static void prepare_work(void *arg)
{
	struct prepare *p = arg;

	if (prepare_files(p) == 0 && p->plan)
		net_attach(p->plan, &p->err);
	p->kill_mono_ms = intent_load_stopping(p->run_dir, p->attempt);
}

static void prepare_back(void *arg)
{
	struct prepare *p = arg;
	struct task *t = p->t;

	bug_if(!task_in(t, SM(STEP_PREPARING) | SM(STEP_RESTORING)));
	bundle_free(t->bundle);
	t->bundle = p->bundle;
	t->prepare_err = p->err;
	t->prepared = p->err.code == 0;
	if (task_is(t, STEP_RESTORING))
		t->at.kill_mono_ms = p->kill_mono_ms;
	if (p->plan)
		t->net = p->err.code == 0 ? NET_DONE : NET_NONE;
	obj_free(p->row);
	free(p->state_dir);
	free(p->run_dir);
	free(p->volumes_dir);
	free(p->made_dir);
	free(p->boot_id);
	free(p->base_run);
	free(p->base_state);
	free(p);
	if (task_job_back(t))
		return;
	t->names = 0; /* the folder is new */
	if (t->prepared)
		task_hosts_write(t);
	task_move(t);
}

/* What the preparation touches answers, or is ours. */
static void prepare_start(struct task *t, const struct err *looked)
{
	struct prepare *p;

	bug_if(!task_in(t, SM(STEP_PREPARING) | SM(STEP_RESTORING)) || t->busy);
	if (looked->code != 0) {
		t->prepare_err = *looked;
		t->prepared = false;
		task_move(t);
		return;
	}
	p = xcalloc(1, sizeof(*p));
	p->t = t;
	p->attempt = t->at.number;
	p->row = obj_dup(t->row);
	p->state_dir = xstrdup(t->state_dir);
	p->run_dir = xstrdup(t->run_dir);
	p->volumes_dir = xasprintf("%s/volumes", t->w->dir);
	p->made_dir = xasprintf("%s/made", t->w->dir);
	p->boot_id = xstrdup(t->w->boot_id);
	p->base_run = xstrdup(t->w->run_dir);
	p->base_state = xstrdup(t->w->state_dir);
	p->bundle = bundle_new();
	if (t->w->net && net_ready(t->w->net, t->row)) {
		if (!t->plan)
			t->plan = net_plan_new(t->w->net, t->row);
		p->plan = t->plan;
		t->net = NET_BUSY;
	}
	task_job_start(t, prepare_work, prepare_back, p);
}

void task_prepare_start(struct task *t)
{
	const struct err none = {0};

	err_clear(&t->prepare_err);
	t->prepared = false;
	if (!task_look_start(t, prepare_start))
		prepare_start(t, &none);
}

/* ---- the network of a task that an earlier worker started ---- */

struct attach {
	struct task *t;
	struct err err;
};

static void attach_work(void *arg)
{
	struct attach *a = arg;

	net_attach(a->t->plan, &a->err);
}

static void attach_back(void *arg)
{
	struct attach *a = arg;
	struct task *t = a->t;

	bug_if(t->net != NET_BUSY);
	if (a->err.code != 0)
		log_warn("task %s: %s; the overlay tries again", t->id, a->err.msg);
	t->net = NET_DONE; /* declared in any case: nobody reaps what it has, and passes mend the rest */
	free(a);
	if (!task_job_back(t))
		task_move(t);
}

bool task_net_due(struct task *t)
{
	struct attach *a;

	if (t->net != NET_NONE || !t->w->net || !net_ready(t->w->net, t->row))
		return false;
	bug_if(t->at.process != PROCESS_STARTED);
	a = xcalloc(1, sizeof(*a));
	a->t = t;
	if (!t->plan)
		t->plan = net_plan_new(t->w->net, t->row);
	net_plan_process(t->plan, container_pid(t->at.container));
	t->net = NET_BUSY;
	task_job_start(t, attach_work, attach_back, a);
	return true;
}

/* ---- launch ---- */

struct launch {
	struct task *t;
	char *state_dir, *bundle_dir, *config;
	uint32_t attempt;
	struct err err;
};

static void launch_work(void *arg)
{
	struct launch *l = arg;
	cleanup_free char *path = xasprintf("%s/config.json", l->bundle_dir);
	FILE *f;

	if (l->err.code != 0)
		return;
	/* Attempt 1 needs no file: the intent alone says it. */
	if (l->attempt > 1 && intent_save_attempt(l->state_dir, l->attempt, &l->err) < 0)
		return;
	if (fs_mkdir(l->bundle_dir, 0700, &l->err) < 0)
		return;
	f = fopen(path, "we");
	if (!f || fputs(l->config, f) < 0 || fflush(f) != 0)
		err_errno(&l->err, errno, "write %s", path);
	if (f)
		fclose(f);
}

static void launch_back(void *arg)
{
	struct launch *l = arg;
	struct task *t = l->t;

	bug_if(!task_is(t, STEP_LAUNCHING) || l->attempt != t->at.number);
	t->at.failed = l->err;
	free(l->state_dir);
	free(l->bundle_dir);
	free(l->config);
	free(l);
	if (!task_job_back(t))
		task_move(t);
}

void task_bounds(const struct task *t, struct oci_spec *spec)
{
	const Gs__TaskSpec *s = t->row->spec;

	spec->nano_cpus = s->limits ? s->limits->nano_cpus : 0;
	spec->memory_bytes = s->limits ? s->limits->memory_bytes : 0;
	spec->pids = s->limit_pids;
	spec->seccomp_bpf = t->w->seccomp_bpf;
	spec->apparmor = t->w->apparmor;
}

static int config_format(struct task *t, char **ret, struct err *e)
{
	const Gs__TaskSpec *s = t->row->spec;
	struct oci_spec spec = {
		.bundle = t->bundle,
		.argv = (const char *const *)t->at.argv,
		.env = s->env,
		.n_env = s->n_env,
		.cwd = s->dir,
		.hostname = row_hostname(t->row),
		.netns_path = t->netns_path,
		.cgroup_path = t->at.cgroup_path,
	};

	task_bounds(t, &spec);
	return oci_spec_format(&spec, ret, e);
}

static void argv_from_spec(struct task *t)
{
	const Gs__TaskSpec *s = t->row->spec;

	t->at.argv = xcalloc(s->n_args + 1, sizeof(*t->at.argv));
	for (size_t i = 0; i < s->n_args; i++)
		t->at.argv[i] = xstrdup(s->args[i]);
}

void task_launch_start(struct task *t)
{
	struct launch *l = xcalloc(1, sizeof(*l));

	bug_if(!t->bundle || !t->prepared);
	if (!t->at.argv)
		argv_from_spec(t);
	l->t = t;
	l->attempt = t->at.number;
	l->state_dir = xstrdup(t->state_dir);
	l->bundle_dir = xasprintf("%s/%u", t->run_dir, t->at.number);
	config_format(t, &l->config, &l->err);
	task_job_start(t, launch_work, launch_back, l);
}

int task_container_spec(struct task *t, struct container_spec *ret, char **ret_bundle)
{
	bug_if(t->at.number == 0 || t->at.container);
	*ret_bundle = xasprintf("%s/%u", t->run_dir, t->at.number);
	*ret = (struct container_spec){
		.id = t->at.container_id,
		.bundle_dir = *ret_bundle,
		.log_path = t->log_path,
		.lower = t->bundle ? t->bundle->lower : NULL,
		.upper = t->bundle ? t->bundle->upper : NULL,
		.work = t->bundle ? t->bundle->work : NULL,
		.image = t->bundle ? t->bundle->image : (struct image_id){0},
		.rootfs = t->bundle ? t->bundle->rootfs : NULL,
		.arg = t,
	};
	return 0;
}

/* ---- small files ---- */

struct save {
	struct task *t;
	char *state_dir;
	Gs__Task *row;
	struct err err;
};

static void save_work(void *arg)
{
	struct save *s = arg;

	intent_save_task(s->state_dir, s->row, &s->err);
}

static void save_back(void *arg)
{
	struct save *s = arg;
	struct task *t = s->t;

	obj_free(s->row);
	free(s->state_dir);
	free(s);
	if (!task_job_back(t))
		task_move(t);
}

void task_intent_save(struct task *t)
{
	struct save *s;

	if (t->busy)
		return; /* the row is saved again at the next change; the manager has the truth */
	s = xcalloc(1, sizeof(*s));
	s->t = t;
	s->state_dir = xstrdup(t->state_dir);
	s->row = obj_dup(t->row);
	task_job_start(t, save_work, save_back, s);
}

struct stop_note {
	struct task *t;
	char *run_dir;
	uint32_t attempt;
	int64_t kill_mono_ms;
	struct err err;
};

static void stop_note_work(void *arg)
{
	struct stop_note *n = arg;

	intent_save_stopping(n->run_dir, n->attempt, n->kill_mono_ms, &n->err);
}

static void stop_note_back(void *arg)
{
	struct stop_note *n = arg;
	struct task *t = n->t;

	if (n->err.code != 0)
		log_warn("task %s: a worker after this one would stop it anew: %s", t->row->name, n->err.msg);
	free(n->run_dir);
	free(n);
	if (!task_job_back(t))
		task_move(t);
}

void task_stop_note(struct task *t)
{
	struct stop_note *n = xcalloc(1, sizeof(*n));

	bug_if(!task_is(t, STEP_STOPPING) || t->at.kill_mono_ms <= 0);
	n->t = t;
	n->run_dir = xstrdup(t->run_dir);
	n->attempt = t->at.number;
	n->kill_mono_ms = t->at.kill_mono_ms;
	task_job_start(t, stop_note_work, stop_note_back, n);
}

void task_hosts_write(struct task *t)
{
	uint64_t names = t->w->net ? net_names_version(t->w->net, t->row) : 1;
	cleanup_free char *lines = NULL;

	if (names == t->names)
		return;
	/* A line an endpoint, on tmpfs; a failure leaves the old names. */
	lines = t->w->net ? net_hosts(t->w->net, t->row) : NULL;
	t->names = rootfs_hosts_write(t->run_dir, row_hostname(t->row), lines, NULL) == 0 ? names : 0;
}

/* ---- reap ---- */

struct reap {
	struct task *t;
	char *run_dir, *id, *cgroup;
	bool alive; /* its exit file is not there: it may yet run */
};

/* Tools that still run, "<task id>.tool...": they work on the same volume. id is the container's. */
static void reap_tools(const char *run_dir, const char *id, const char *cgroup_path)
{
	cleanup_free char *crun = xasprintf("%s/crun", run_dir);
	size_t len = (size_t)(strchr(id, '.') + 1 - id);
	DIR *d = opendir(crun);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		cleanup_free char *cgroup = NULL;

		if (strncmp(entry->d_name, id, len) != 0 || strncmp(entry->d_name + len, "tool", 4) != 0)
			continue;
		cgroup = xasprintf("%.*s/%s", (int)(strrchr(cgroup_path, '/') - cgroup_path), cgroup_path,
				   entry->d_name);
		runtime_reap(run_dir, CRUN, entry->d_name, cgroup);
	}
	if (d)
		closedir(d);
}

static void reap_work(void *arg)
{
	struct reap *r = arg;

	reap_tools(r->run_dir, r->id, r->cgroup);
	if (r->alive)
		runtime_reap(r->run_dir, CRUN, r->id, r->cgroup);
}

static void reap_back(void *arg)
{
	struct reap *r = arg;
	struct task *t = r->t;

	bug_if(!task_is(t, STEP_REAPING));
	free(r->run_dir);
	free(r->id);
	free(r->cgroup);
	free(r);
	if (!task_job_back(t))
		task_move(t);
}

void task_reap_start(struct task *t)
{
	struct reap *r = xcalloc(1, sizeof(*r));

	bug_if(!task_is(t, STEP_REAPING));
	r->t = t;
	r->run_dir = xstrdup(t->w->run_dir);
	r->id = xstrdup(t->at.container_id);
	r->cgroup = xstrdup(t->at.cgroup_path);
	r->alive = attempt_may_live(&t->at);
	task_job_start(t, reap_work, reap_back, r);
}

/* ---- what an ended attempt leaves ---- */

struct tidy {
	char *run_dir, *id, *bundle_dir, *cgroup;
	uint32_t attempt;
	bool alive;
};

static void tidy_work(void *arg)
{
	struct tidy *d = arg;

	if (d->alive)
		runtime_reap(d->run_dir, CRUN, d->id, d->cgroup);
	else
		runtime_clean(d->run_dir, d->id, d->cgroup);
	fs_remove_all(d->bundle_dir, NULL);
}

static void tidy_back(void *arg)
{
	struct tidy *d = arg;

	free(d->run_dir);
	free(d->id);
	free(d->bundle_dir);
	free(d->cgroup);
	free(d);
}

static struct tidy *tidy_new(struct task *t)
{
	struct tidy *d;

	if (t->untidy.attempt == 0)
		return NULL;
	bug_if(t->untidy.attempt >= t->at.number); /* it would take what runs */
	d = xcalloc(1, sizeof(*d));
	d->run_dir = xstrdup(t->w->run_dir);
	d->attempt = t->untidy.attempt;
	d->alive = t->untidy.alive;
	d->id = xasprintf("%s.%u", t->id, d->attempt);
	d->bundle_dir = xasprintf("%s/%u", t->run_dir, d->attempt);
	d->cgroup = cgroup_path_new(t->w->state.node_id, d->id);
	t->untidy.attempt = 0;
	return d;
}

struct leftover {
	struct task *t;
	struct tidy *tidy;
};

static void leftover_work(void *arg)
{
	struct leftover *l = arg;

	tidy_work(l->tidy);
}

static void leftover_back(void *arg)
{
	struct leftover *l = arg;
	struct task *t = l->t;

	tidy_back(l->tidy);
	free(l);
	if (!task_job_back(t))
		task_move(t);
}

void task_leftover_end(struct task *t)
{
	struct leftover *l = xcalloc(1, sizeof(*l));

	bug_if(!task_in(t, SM(STEP_PREPARING) | SM(STEP_BACKOFF)));
	l->t = t;
	l->tidy = tidy_new(t);
	bug_if(!l->tidy || !l->tidy->alive);
	task_job_start(t, leftover_work, leftover_back, l);
}

void task_tidy_start(struct task *t)
{
	struct tidy *d = tidy_new(t);

	if (d)
		task_work(t, tidy_work, tidy_back, d);
}

/* ---- clean ---- */

struct clean {
	struct task *t;
	char *run_dir, *state_dir, *base_run, *id, *cgroup, *rootfs, *crun;
	Gs__TaskStatus *final; /* NULL: forget the task on disk, too */
	struct net_plan *plan;
	struct tidy *tidy; /* the attempt before, or NULL */
	bool alive;
	bool must_last; /* without its note it would run again */
	struct err err;
};

static void clean_work(void *arg)
{
	struct clean *c = arg;

	/* As long as the note cannot be written (ENOSPC), the exit file is what tells that it has ended. */
	if (c->final && intent_save_final(c->state_dir, c->final, &c->err) < 0 && c->must_last)
		return;
	if (c->alive)
		runtime_reap(c->base_run, c->crun, c->id, c->cgroup);
	else
		runtime_clean(c->base_run, c->id, c->cgroup);
	reap_tools(c->base_run, c->id, c->cgroup);
	if (c->tidy)
		tidy_work(c->tidy);
	if (c->plan)
		net_detach(c->plan);
	rootfs_release(c->run_dir);
	fs_remove_all(c->run_dir, NULL);
	if (!c->final)
		fs_remove_all(c->state_dir, NULL);
}

static void clean_free(struct clean *c)
{
	obj_free(c->final);
	free(c->run_dir);
	free(c->state_dir);
	free(c->base_run);
	free(c->id);
	free(c->cgroup);
	free(c->crun);
	free(c);
}

/* The note could not be written: nothing was done yet. */
static void clean_undo(struct task *t, struct clean *c)
{
	bug_if(t->plan || t->untidy.attempt != 0);
	t->clean_err = c->err;
	t->plan = steal(c->plan);
	if (!c->tidy)
		return;
	t->untidy.attempt = c->tidy->attempt;
	t->untidy.alive = c->tidy->alive;
	tidy_back(steal(c->tidy));
}

static void clean_back(void *arg)
{
	struct clean *c = arg;
	struct task *t = c->t;

	bug_if(!task_is(t, STEP_CLEANING));
	if (c->err.code != 0 && c->must_last)
		clean_undo(t, c);
	else if (c->final && !t->assigned) /* that came while we cleaned */
		task_forget(t);
	if (c->plan)
		net_plan_free(c->plan);
	if (c->tidy)
		tidy_back(c->tidy);
	clean_free(c);
	if (!task_job_back(t))
		task_move(t);
}

void task_clean_start(struct task *t)
{
	struct clean *c = xcalloc(1, sizeof(*c));

	bug_if(!task_is(t, STEP_CLEANING) || t->driver_state || t->tools);
	c->t = t;
	c->run_dir = xstrdup(t->run_dir);
	c->state_dir = xstrdup(t->state_dir);
	c->base_run = xstrdup(t->w->run_dir);
	c->id = xstrdup(t->at.container_id);
	c->cgroup = xstrdup(t->at.cgroup_path);
	c->crun = xstrdup(CRUN);
	/* Of one that was adopted as final nobody knows how far the clean-up had come. */
	c->alive = t->at.container ? attempt_may_live(&t->at) : t->from_disk;
	if (!t->plan && t->w->net)
		t->plan = net_plan_new(t->w->net, t->row);
	c->plan = steal(t->plan);
	c->tidy = tidy_new(t);
	if (t->assigned)
		c->final = obj_dup(t->status);
	c->must_last = !task_stop_wanted(t);
	err_clear(&t->clean_err);
	task_job_start(t, clean_work, clean_back, c);
}
