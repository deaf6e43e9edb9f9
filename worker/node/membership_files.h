// SPDX-License-Identifier: Apache-2.0
/* The node's identity and what must survive a restart: <dir>/ca.crt node.crt node.key state.json.
 *
 * state.json is written last and removed first: a node is a member exactly when it exists and names a
 * cluster. While an init, a join or a leave changes these files, a note of that name lies beside them; files of a
 * membership without state.json and without a note were left by nobody who meant it: they are told, kept, and moved
 * aside when the user says so. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/context/membership.h"

/* No membership is no error: is_member is false then. E_CORRUPT when files do not fit together, -errno when one
 * cannot be read; *ret is untouched then. */
int membership_load(const char *dir, struct membership *ret, struct err *e);
/* Everything, durably. */
int membership_save(const char *dir, const struct membership *s, struct err *e);
/* Only state.json (the list of managers changed). */
int membership_save_json(const char *dir, const struct membership *s, struct err *e);
/* Only node.crt (renewed with the same key) and ca.crt: the manager sends its roots with it. */
int membership_save_cert(const char *dir, const struct membership *s, struct err *e);
/* No member any more: state.json goes first, durably. The folder itself stays. */
int membership_remove(const char *dir, struct err *e);
/* What of a membership lies in state_dir (dir's parent): "manager/ (a cluster's state), worker/node.key". False
 * and "" when there is nothing; what cannot be read counts. */
bool membership_leftover(const char *state_dir, char *ret, size_t n);
/* Move all of that to one new folder below state_dir; *ret_where as in fs_set_aside. Empty folders just go. */
int membership_set_aside(const char *state_dir, char **ret_where, struct err *e);
/* Leave the note that `what` (init, join, leave) is under way, durably. */
int membership_note(const char *dir, const char *what, const char *text, struct err *e);
/* Is that note there? */
bool membership_is_noted(const char *dir, const char *what);
/* All of them. */
int membership_notes_remove(const char *dir, struct err *e);
