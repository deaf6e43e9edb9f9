# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests: hosts, a swarm on them, and what is printed when a test fails."""
import os
import re
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import hosts  # noqa: E402
from swarm import Swarm  # noqa: E402

SWARMS = []  # up now
FAILED = set()  # tests


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests marked long as well (power cuts, minutes of waiting)")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes more than 20 seconds; run with --long")


LONGEST = ("test_galera_faults", "test_worker_faults", "test_hostile", "test_galera")  # begun first when files run side by side


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: LONGEST.index(item.module.__name__) if item.module.__name__ in LONGEST else len(LONGEST))
    if not config.getoption("--long"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="long, run with --long"))


def pytest_sessionstart(session):
    """Remove what an interrupted run of these tests has left (its prefix names the process)."""
    if os.geteuid():
        pytest.exit("the end-to-end tests need root", 1)
    if hasattr(session.config, "workerinput"):
        return  # one of several at once: the process that started them has done it
    root = hosts.STATE_ROOT
    for name in os.listdir(root) if os.path.isdir(root) else []:
        m = re.fullmatch(r"e(\d+)[a-z]*", name)
        if m and not hosts.start_time(m.group(1)):
            hosts.Testbed(name).down()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        FAILED.add(item.nodeid)
        for s in SWARMS:
            report.sections.append(("testbed", s.dump()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """What a failed test leaves is no ground for the next one: that gets hosts, swarm and services anew."""
    yield
    if item.nodeid in FAILED:
        item.session._setupstate.teardown_exact(None)  # pylint: disable=protected-access # nothing public ends a module's fixtures


def make_swarm(count, form=True):
    s = Swarm(f"e{os.getpid()}{'abcdefgh'[len(SWARMS)]}", count)
    SWARMS.append(s)
    try:
        return s.form() if form else s.up()
    except BaseException:
        print(s.dump())
        end_swarm(s)
        raise


def end_swarm(s):
    SWARMS.remove(s)
    s.down()


@pytest.fixture(scope="module")
def swarm(request):
    """Hosts with a swarm: as many as HOSTS of the test's module says (3)."""
    s = make_swarm(getattr(request.module, "HOSTS", 3))
    yield s
    end_swarm(s)


@pytest.fixture
def fresh(request):
    """Two hosts with workers that are in no swarm yet; for one test."""
    s = make_swarm(getattr(request.module, "FRESH_HOSTS", 2), form=False)
    yield s
    end_swarm(s)


class Refusal:
    """A command that must fail: exit code, one line, and nothing on stdout."""

    def __call__(self, host, *argv, says, code=1, timeout=30):
        done = host.gswarm(*argv, check=False, timeout=timeout)
        text = done.stderr.strip()
        assert done.returncode == code, f"exit {done.returncode}, wanted {code}: {done.stdout}{text}"
        assert text.startswith("gswarm: ") and "\n" not in text, text
        assert not done.stdout, done.stdout
        for word in [says] if isinstance(says, str) else says:
            assert re.search(word, text, re.I), f"'{word}' is not in: {text}"
        return text


@pytest.fixture
def refused():
    return Refusal()
