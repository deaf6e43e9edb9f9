// SPDX-License-Identifier: Apache-2.0
/* The state transfer program against the other node's container: what that says on 4444 is input. The stock method
 * is a script that evals the address as MariaDB's own do, and writes down what it was called with. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"

#define PORT 4444
#define GTID "6f1c8e0a-1b2c-11ef-9a3b-0123456789ab:42"

static char dir[] = "/tmp/gswarm-sst-XXXXXX";
static char ip[32];

static const char stock[] = "#!/bin/bash\n"
			    "while [ $# -gt 0 ]; do [ \"$1\" = --address ] && address=$2; [ \"$1\" = --role "
			    "] && role=$2; shift; done\n"
			    "if [ $role = joiner ]; then echo \"ready $address\"; exit; fi\n"
			    "eval \"echo $address\" >called\n";

static void path_of(const char *name, char ret[128])
{
	snprintf(ret, 128, "%s/%s", dir, name);
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	char path[128];
	int fd;

	path_of(name, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static bool exists(const char *name)
{
	char path[128];

	path_of(name, path);
	return access(path, F_OK) == 0;
}

static void forget(const char *name)
{
	char path[128];

	path_of(name, path);
	unlink(path);
}

static pid_t start(const char *role, const char *address, int out)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	if (chdir(dir) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(99);
	setenv("PATH", ".:/usr/local/bin:/usr/bin:/bin", 1);
	execlp("bash", "bash", getenv("GSWARM_SST"), "--role", role, "--address", address, "--parent", "1",
	       "--gtid", GTID, "--gtid-domain-id", "0", "--defaults-file", "my.cnf", NULL);
	_exit(98);
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static struct sockaddr_in address_of_test(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	assert_int_equal(inet_pton(AF_INET, ip, &sa.sin_addr), 1);
	return sa;
}

/* The donor's end against a joiner that answers so. */
static int donate(const char *answer)
{
	struct sockaddr_in sa = address_of_test();
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, to, rc;
	char address[64], line[64] = "";
	pid_t pid;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(address, sizeof(address), "%s:%d/gswarm", ip, PORT);
	pid = start("donor", address, STDERR_FILENO);
	to = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(to >= 0);
	assert_true(read(to, line, sizeof(line) - 1) > 0);
	assert_string_equal(line, "SST " GTID "\n");
	assert_int_equal(write(to, answer, strlen(answer)), strlen(answer));
	rc = end_of(pid);
	close(to);
	close(fd);
	return rc;
}

/* Fresh review of security, 1: a joiner's answer was a command line on the donor. */
static void test_donor_runs_no_answer(void **state)
{
	static const char *const forms[] = {
		"';touch ran;'",
		"$(touch ran)",
		"`touch ran`",
		":4444;touch ran",
		":4444/x;touch$IFS'ran'",
		":4444/x touch",
		":4444,lockfile=ran",
		":4444\\",
		":4444/*",
		"/|touch ran",
		":4444&",
		"@evil.example:4444/x",
	};
	char answer[400];

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		snprintf(answer, sizeof(answer), "%s%s\n", ip, forms[i]);
		assert_int_equal(donate(answer), 32);
		assert_false(exists("ran"));
		assert_false(exists("called"));
	}
	assert_int_equal(donate("127.0.0.1:4444/xtrabackup_sst//1\n"), 32); /* not who was asked */
	assert_int_equal(donate("\n"), 32);
	memset(answer, '1', sizeof(answer));
	memcpy(answer, ip, strlen(ip));
	answer[strlen(ip)] = '/';
	strcpy(answer + sizeof(answer) - 2, "\n");
	assert_int_equal(donate(answer), 32); /* longer than is read */
	assert_false(exists("ran"));
	assert_false(exists("called"));
}

static void called_with(const char *want)
{
	cleanup_free char *text = NULL;
	char path[128];
	size_t n;

	path_of("called", path);
	assert_int_equal(fs_read(path, 4096, &text, &n, NULL), 0);
	assert_string_equal(text, want);
	forget("called");
}

static void test_donor_takes_an_address(void **state)
{
	static const char *const forms[][2] = {
		{"", ":4444/xtrabackup_sst//1"}, {"", ":4444/rsync_sst"}, {"", ""}, {"db.2:0aZ@", ":4444/x"}};
	char answer[128];

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		snprintf(answer, sizeof(answer), "%s%s%s\n", forms[i][0], ip, forms[i][1]);
		assert_int_equal(donate(answer), 0);
		called_with(answer);
	}
}

/* The joiner's end against a donor that says so; what the server would read is in ret. */
static int join(const char *says, char ret[400])
{
	struct sockaddr_in sa = address_of_test();
	int p[2], fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;
	char address[64];
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	snprintf(address, sizeof(address), "%s:%d", ip, PORT);
	pid = start("joiner", address, p[1]);
	close(p[1]);
	while (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		assert_int_equal(errno, ECONNREFUSED); /* not yet */
		usleep(10000);
	}
	assert_int_equal(write(fd, says, strlen(says)), strlen(says));
	shutdown(fd, SHUT_WR);
	rc = end_of(pid);
	close(fd);
	while (len < 399 && (n = read(p[0], ret + len, 399 - len)) > 0)
		len += (size_t)n;
	ret[len] = '\0';
	close(p[0]);
	return rc;
}

static void test_joiner_passes_a_position_only(void **state)
{
	static const char *const forms[] = {"IST ';touch ran;' 0\n", "IST " GTID " 0 more\n",
					    "IST " GTID " x\n",      "IST\n",
					    "GET / HTTP/1.1\n",      "\n"};
	char out[400], ready[100], want[200];

	if (system("command -v socat >/dev/null") != 0)
		skip();
	snprintf(ready, sizeof(ready), "ready %s:4444/gswarm\n", ip);
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		assert_int_equal(join(forms[i], out), 32);
		assert_string_equal(out, ready); /* nothing for the server */
	}
	snprintf(want, sizeof(want), "%s" GTID " 0\n", ready);
	assert_int_equal(join("IST " GTID " 0\n", out), 0);
	assert_string_equal(out, want);
}

static int setup(void **state)
{
	int pid = getpid();

	/* An address of its own: tests run at the same time. */
	snprintf(ip, sizeof(ip), "127.%d.%d.%d", 100 + (pid >> 16) % 100, (pid >> 8) & 255,
		 1 + (pid & 255) % 254);
	if (!mkdtemp(dir))
		return -1;
	write_file("wsrep_sst_fake", stock, 0755);
	write_file("my.cnf", "[sst]\ngswarm_method=fake\n", 0644);
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {"wsrep_sst_fake", "my.cnf", "called", "ran"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		forget(names[i]);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_donor_runs_no_answer),
		cmocka_unit_test(test_donor_takes_an_address),
		cmocka_unit_test(test_joiner_passes_a_position_only),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
