// SPDX-License-Identifier: Apache-2.0
/* The happy path is four files written one after the other, each with fsync and rename, state.json last. What
 * can fail is the disk (the node is then no member) and files damaged by hand (told by name, never guessed
 * around). */
#include "worker/node/membership_files.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"

#define PEM_MAX (64 << 10)

static int file_read(const char *dir, const char *name, char **ret, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	return fs_read(path, PEM_MAX, ret, NULL, e);
}

static int file_write(const char *dir, const char *name, const char *text, mode_t mode, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	return fs_write(path, text, strlen(text), mode, e);
}

static void text_get(const json_t *root, const char *name, char *ret, size_t n)
{
	const char *v = json_string_value(json_object_get(root, name));

	snprintf(ret, n, "%s", v ? v : "");
}

static void managers_get(const json_t *root, struct membership *s)
{
	const json_t *list = json_object_get(root, "managers");

	s->n_managers = json_array_size(list);
	s->managers = xcalloc(s->n_managers + 1, sizeof(*s->managers));
	for (size_t i = 0; i < s->n_managers; i++) {
		const char *v = json_string_value(json_array_get(list, i));

		s->managers[i] = xstrdup(v ? v : "");
	}
}

static void chosen_default(struct membership *s)
{
	if (!*s->chosen_advertise)
		memcpy(s->chosen_advertise, s->advertise, sizeof(s->advertise));
	if (!*s->chosen_data_path)
		memcpy(s->chosen_data_path, s->data_path, sizeof(s->data_path));
}

int membership_load(const char *dir, struct membership *ret, struct err *e)
{
	struct membership s = {0};
	cleanup_free char *text = NULL;
	json_t *root;
	int rc = file_read(dir, "state.json", &text, e);

	if (rc == -ENOENT) {
		err_clear(e);
		*ret = s;
		return 0;
	}
	if (rc < 0)
		return rc;
	root = json_loads(text, 0, NULL);
	text_get(root, "cluster_id", s.cluster_id, sizeof(s.cluster_id));
	text_get(root, "node_id", s.node_id, sizeof(s.node_id));
	text_get(root, "advertise", s.advertise, sizeof(s.advertise));
	text_get(root, "data_path", s.data_path, sizeof(s.data_path));
	text_get(root, "chosen_advertise", s.chosen_advertise, sizeof(s.chosen_advertise));
	text_get(root, "chosen_data_path", s.chosen_data_path, sizeof(s.chosen_data_path));
	chosen_default(&s);
	s.data_path_port = (uint32_t)json_integer_value(json_object_get(root, "data_path_port"));
	s.has_manager = json_is_true(json_object_get(root, "manager"));
	managers_get(root, &s);
	json_decref(root);
	if (!id_is_valid(s.node_id) || !id_is_valid(s.cluster_id)) {
		membership_fini(&s);
		return err_set(e, E_CORRUPT,
			       "%s/state.json is damaged: restore it and restart, or 'gswarm leave --force' "
			       "moves what is here aside",
			       dir);
	}
	if (file_read(dir, "ca.crt", &s.ca, e) < 0 || file_read(dir, "node.crt", &s.cert, e) < 0 ||
	    file_read(dir, "node.key", &s.key, e) < 0) {
		membership_fini(&s);
		return err_wrap(e, "identity of this node");
	}
	s.is_member = true;
	*ret = s;
	return 0;
}

int membership_save_json(const char *dir, const struct membership *s, struct err *e)
{
	json_t *list, *root;
	cleanup_free char *text = NULL;

	list = json_array();
	for (size_t i = 0; i < s->n_managers; i++)
		json_array_append_new(list, json_string(s->managers[i]));
	root = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:o}", "cluster_id", s->cluster_id,
			 "node_id", s->node_id, "advertise", s->advertise, "data_path", s->data_path,
			 "chosen_advertise", s->chosen_advertise, "chosen_data_path", s->chosen_data_path,
			 "data_path_port", (int)s->data_path_port, "manager", (int)s->has_manager, "managers",
			 list);
	text = json_dumps(root, JSON_INDENT(1));
	json_decref(root);
	return file_write(dir, "state.json", text, 0600, e);
}

int membership_save_cert(const char *dir, const struct membership *s, struct err *e)
{
	if (file_write(dir, "ca.crt", s->ca, 0644, e) < 0)
		return e->code;
	return file_write(dir, "node.crt", s->cert, 0644, e);
}

int membership_save(const char *dir, const struct membership *s, struct err *e)
{
	if (fs_mkdir(dir, 0700, e) < 0 || file_write(dir, "node.key", s->key, 0600, e) < 0 ||
	    membership_save_cert(dir, s, e) < 0)
		return e->code;
	return membership_save_json(dir, s, e);
}

int membership_remove(const char *dir, struct err *e)
{
	static const char *const names[] = {"state.json", "node.crt", "node.key", "ca.crt"};

	for (size_t i = 0; i < array_size(names); i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);

		if (fs_unlink(path, e) < 0)
			return e->code;
	}
	return fs_exists(dir) ? fs_sync_dir(dir, e) : 0;
}

/* ---- what is here without a membership ---- */

#define MANAGER "manager"

static const char *const belongings[] = {MANAGER, "worker/state.json", "worker/node.crt", "worker/node.key",
					 "worker/ca.crt"};

/* Anything but folders below it? What cannot be looked at may be anything. */
static bool holds_files(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	bool found = !d && errno != ENOENT;

	while (d && !found && (errno = 0, entry = readdir(d))) {
		cleanup_free char *path = NULL;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		path = xasprintf("%s/%s", dir, entry->d_name);
		found = entry->d_type != DT_DIR || holds_files(path);
	}
	found = found || (d && errno != 0);
	if (d)
		closedir(d);
	return found;
}

static bool is_left(const char *state_dir, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s", state_dir, name);

	return strcmp(name, MANAGER) == 0 ? holds_files(path) : fs_exists(path);
}

bool membership_leftover(const char *state_dir, char *ret, size_t n)
{
	struct buf list = {0};

	for (size_t i = 0; i < array_size(belongings); i++)
		if (is_left(state_dir, belongings[i]))
			buf_printf(&list, "%s%s%s", list.len > 0 ? ", " : "", belongings[i],
				   strcmp(belongings[i], MANAGER) == 0 ? "/ (a cluster's state)" : "");
	snprintf(ret, n, "%s", list.len > 0 ? buf_text(&list) : "");
	buf_fini(&list);
	return *ret != '\0';
}

int membership_set_aside(const char *state_dir, char **ret_where, struct err *e)
{
	cleanup_free char *manager = xasprintf("%s/" MANAGER, state_dir);

	if (!holds_files(manager) && fs_remove_all(manager, e) < 0)
		return e->code;
	return fs_set_aside(state_dir, belongings, array_size(belongings), ret_where, e);
}

int membership_note(const char *dir, const char *what, const char *text, struct err *e)
{
	return file_write(dir, what, text, 0600, e);
}

bool membership_is_noted(const char *dir, const char *what)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, what);

	return fs_exists(path);
}

int membership_notes_remove(const char *dir, struct err *e)
{
	static const char *const notes[] = {"init", "join", "leave"};
	bool any = false;

	for (size_t i = 0; i < array_size(notes); i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, notes[i]);

		if (!fs_exists(path))
			continue;
		if (fs_unlink(path, e) < 0)
			return e ? e->code : -EIO;
		any = true;
	}
	return any ? fs_sync_dir(dir, e) : 0;
}
