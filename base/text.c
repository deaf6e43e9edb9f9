// SPDX-License-Identifier: Apache-2.0
/* Judging text from outside, byte by byte.
 *
 * The happy path is a walk along the characters to the terminating zero. Nothing here can fail, and nothing
 * reads behind the zero: a zero byte is no continuation byte, so a character that is cut ends the walk. */
#include "base/text.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#define HOSTNAME_MAX 64   /* uname(2): __NEW_UTS_LEN */
#define LABEL_MAX 63      /* RFC 1035, 2.3.4 */
#define PATH_LONGEST 4000 /* PATH_MAX less what we put in front */

/* How long the character is that begins with this byte (RFC 3629, section 4); 0: none does. */
static size_t utf8_len(unsigned char lead)
{
	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Bytes of the character at s, 0 when it is none; *ret is its number. */
static size_t utf8_char(const char *s, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char lead = (unsigned char)*s;
	size_t n = utf8_len(lead);
	uint32_t c = n == 1 ? lead : lead & (0x7fu >> n);

	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | ((unsigned char)s[i] & 0x3f);
	}
	if (!n || c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return n;
}

static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

bool text_is_utf8(const char *s)
{
	uint32_t c;

	for (size_t n; *s; s += n)
		if (!(n = utf8_char(s, &c)))
			return false;
	return true;
}

bool text_is_plain(const char *s)
{
	uint32_t c;

	for (size_t n; *s; s += n)
		if (!(n = utf8_char(s, &c)) || is_control(c))
			return false;
	return true;
}

/* The text ends within the character that begins at s. */
static bool is_cut(const char *s)
{
	size_t left = 1;

	while (((unsigned char)s[left] & 0xc0) == 0x80)
		left++;
	return !s[left] && left < utf8_len((unsigned char)*s);
}

void text_one_line(char *s)
{
	char *to = s;
	uint32_t c = 0;

	while (*s && !is_cut(s)) {
		size_t n = utf8_char(s, &c);

		if (n && !is_control(c)) {
			memmove(to, s, n);
			to += n;
		} else {
			*to++ = '?';
		}
		s += n ? n : 1;
	}
	*to = '\0';
}

bool text_is_hostname(const char *s)
{
	size_t n = strlen(s), label = 0;

	if (!n || n > HOSTNAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool is_edge = !label || i + 1 == n || s[i + 1] == '.';

		if (s[i] == '.' && (!label || i + 1 == n))
			return false;
		if (s[i] != '.' && !isalnum((unsigned char)s[i]) && (s[i] != '-' || is_edge))
			return false;
		label = s[i] == '.' ? 0 : label + 1;
		if (label > LABEL_MAX)
			return false;
	}
	return true;
}

bool text_is_path(const char *s)
{
	if (*s != '/' || strlen(s) > PATH_LONGEST || !text_is_plain(s))
		return false;
	for (const char *p = s; (p = strstr(p, "/..")); p++)
		if (!p[3] || p[3] == '/')
			return false;
	return true;
}

void text_clean_path(char *s)
{
	const char *from = s;
	char *to = s;

	if (!*s) /* protobuf-c's shared empty string cannot be written to */
		return;
	for (; *from; from++) {
		if (*from == '/' && to > s && to[-1] == '/')
			continue;
		if (*from == '.' && to > s && to[-1] == '/' && (!from[1] || from[1] == '/'))
			continue;
		*to++ = *from;
	}
	while (to > s + 1 && to[-1] == '/')
		to--;
	*to = '\0';
}
