# SPDX-License-Identifier: Apache-2.0
"""The testbed itself: several live side by side on one machine."""
import os

import hosts


def test_down_leaves_the_other_testbeds_disks_alone():
    """FINDINGS U3: removing the machine's empty /var/lib/gswarm detached what other hosts had mounted over it."""
    one, two = hosts.Testbed(f"e{os.getpid()}y"), hosts.Testbed(f"e{os.getpid()}z")
    try:
        one.up(1, start=False)
        two.up(1, start=False)
        h = two.hosts[0]
        h.run("sh", "-c", "echo mine > /var/lib/gswarm/mark")
        one.down()
        assert h.run("cat", "/var/lib/gswarm/mark").stdout == "mine\n"
        assert h.run("mountpoint", "-q", "/var/lib/gswarm", check=False).returncode == 0
    finally:
        one.down()
        two.down()
