// SPDX-License-Identifier: Apache-2.0
/* Text that came from outside: is it text at all, and may it stand in a line of ours? */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 (RFC 3629: shortest form, no surrogates, at most U+10FFFF), which JSON demands. */
bool text_is_utf8(const char *s);
/* That, and no control character (C0, DEL, C1): it cannot break a line or move a terminal's cursor. */
bool text_is_plain(const char *s);
/* In place: a control character, and a byte that is no UTF-8, becomes '?'. A character that the end has cut
 * goes. */
void text_one_line(char *s);

/* A host name of RFC 1123 that Linux takes (HOST_NAME_MAX): labels of 1 to 63 letters, digits and '-' (not at
 * an end), joined by '.', 64 characters at most. */
bool text_is_hostname(const char *s);
/* An absolute path without a '..': it cannot leave the folder that it is looked up in. At most 4,000 bytes,
 * plain. */
bool text_is_path(const char *s);
/* In place: "//" and "/./" become "/", a '/' at the end goes. Two names of a folder become the same text. */
void text_clean_path(char *s);
