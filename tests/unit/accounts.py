# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``user`` means: one table for the reader, for bundles and for commands in containers.

Where no other source is named, the answer is the one of GetExecUser (github.com/moby/sys/user), which podman and docker ask.
"""

from __future__ import annotations

import typing as t

from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User

PASSWD = (
    b"""\
# a comment:x:1:1::/comment:
#old:x:1000:1::/old:/bin/sh
+nis
+::::::
-gone:x:1000:1::/gone:/bin/sh
:x:1000:1::/nobody:/bin/sh
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin

app:x:1000:100:App:/home/app:/bin/sh
app:x:1001:101:another of this name:/second:/bin/sh
twin:x:1000:102:another of this number:/twin:/bin/sh
six:x:1006:106::/home/six
four:x:1004:104
three:x:1003
eight:x:1008:108::/home/eight:/bin/sh:more
  indented:x:1010:110::/home/indented:/bin/sh
\t tabbed:x:1011:111::/home/tabbed:/bin/sh \t
return:x:1012:112::/home/return:/bin/sh\r
homeless:x:1013:113:::
nul:x:1014:114::/home/\0nul:/bin/sh
latin:x:1015:115:Caf\xe9:/home/latin:/bin/sh
foreign:x:1016:116::/home/\xe9:/bin/sh
next:x:1017:117:A\xc2\x85B\xe2\x80\xa8C\x0cD\x1cE:/home/next:/bin/sh
big:x:3000000000:3000000001::/big:/bin/sh
largest:x:4294967294:4294967294::/largest:/bin/sh
toolarge:x:4294967295:0::/:/bin/sh
badgid:x:1018:x::/:/bin/sh
baduid:x:minus:1::/:/bin/sh
emptyuid:x::1::/:/bin/sh
negative:x:-1:1::/:/bin/sh
blank:x: 1019:119::/:/bin/sh
99:x:7:7::/seven:
umlaut\xc3\xa4:x:1020:120::/home/umlaut:/bin/sh
zeros:x:0001021:00121::/home/zeros:/bin/sh
"""
    + b"long:x:1022:122:"
    + b"x" * 100000
    + b":/home/long:/bin/sh\nlast:x:1023:123::/home/last:/bin/sh"
)
GROUP = b"""\
#old:x:9:app
+:::
root:x:0:
users:x:100:app
wheel:x:10:app,other
 more :x:20:other,app
blanks:x:21:other, app
return:x:22:app\r
again:x:10:app
short:x:23
bad:x:y:app
four:x:24:app:more
numbers:x:25:1000
99:x:77:
lower:x:26:App,appx
indented:x:27:indented
largest:x:4294967294:
toolarge:x:4294967295:app
"""
_APP = (10, 20, 22, 24)
# By text: the user, or a part of the refusal.
USERS: dict[str, User | str] = {
    "": User(0, 0, (), "/root"),
    "root": User(0, 0, (), "/root"),
    "0": User(0, 0, (), "/root"),
    "app": User(1000, 100, _APP, "/home/app"),
    "1000": User(1000, 100, _APP, "/home/app"),
    "01000": User(1000, 100, _APP, "/home/app"),
    "app:": User(1000, 100, _APP, "/home/app"),
    "1000:": User(1000, 100, _APP, "/home/app"),
    ":": User(0, 0, (), "/root"),
    ":wheel": User(0, 10, (), "/root"),
    ":5": User(0, 5, (), "/root"),
    "app:wheel": User(1000, 10, (), "/home/app"),
    "app:7": User(1000, 7, (), "/home/app"),
    "1000:wheel": User(1000, 10, (), "/home/app"),
    "1000:100": User(1000, 100, (), "/home/app"),
    "app:short": User(1000, 23, (), "/home/app"),
    "app:more ": User(1000, 20, (), "/home/app"),
    # The number of an account is one, whatever an account is called.
    "99": User(99, 0, (), "/"),
    "0:99": User(0, 99, (), "/root"),
    "twin": User(1000, 102, (), "/twin"),
    # Without an entry.
    "4711": User(4711, 0, (), "/"),
    "4711:4712": User(4711, 4712, (), "/"),
    "4711:wheel": User(4711, 10, (), "/"),
    # moby drops further parts.
    "4711:wheel:x": User(4711, 10, (), "/"),
    "4711:4712:nothing:x": User(4711, 4712, (), "/"),
    "4711::wheel": User(4711, 0, (), "/"),
    "4711:wheel:": User(4711, 10, (), "/"),
    "1001": User(1001, 101, (*_APP, 100), "/second"),
    # Shapes of entries.
    "six": User(1006, 106, (), "/home/six"),
    "four": User(1004, 104, (), "/"),
    "eight": User(1008, 108, (), "/home/eight"),
    "indented": User(1010, 110, (27,), "/home/indented"),
    "1010": User(1010, 110, (27,), "/home/indented"),
    "tabbed": User(1011, 111, (), "/home/tabbed"),
    "return": User(1012, 112, (), "/home/return"),
    "homeless": User(1013, 113, (), "/"),
    "nul": User(1014, 114, (), "/"),
    "latin": User(1015, 115, (), "/home/latin"),
    "foreign": User(1016, 116, (), "/"),
    "next": User(1017, 117, (), "/home/next"),
    "1017": User(1017, 117, (), "/home/next"),
    "umlaut\u00e4": User(1020, 120, (), "/home/umlaut"),
    "zeros": User(1021, 121, (), "/home/zeros"),
    "1021": User(1021, 121, (), "/home/zeros"),
    "long": User(1022, 122, (), "/home/long"),
    "last": User(1023, 123, (), "/home/last"),
    # Numbers up to the kernel's largest (setresuid(2): -1 is none).
    "big": User(3000000000, 3000000001, (), "/big"),
    "3000000000": User(3000000000, 3000000001, (), "/big"),
    "4294967294": User(4294967294, 4294967294, (), "/largest"),
    "1:largest": User(1, 4294967294, (), "/usr/sbin"),
    "1:4294967294": User(1, 4294967294, (), "/usr/sbin"),
    # Damaged entries are none; moby takes them for root (0).
    "1003": User(1003, 0, (), "/"),
    "1018": User(1018, 0, (), "/"),
    "1019": User(1019, 0, (), "/"),
    **dict.fromkeys(
        ("three", "badgid", "baduid", "emptyuid", "negative", "blank", "toolarge", "nobody", "#old", "# a comment", "old",
         "+nis", "+", "-gone", "gone", " app", "app ", "APP", "ap", "-1", "+1", "1_0", "1.0", "0x10", " 1", "\u0661", "\u00b2",
         "4294967295", "4294967296", "9" * 5000, "0" * 5000, "1\0", "app\0", "app\n", "caf\ufffd"),
        "There is no user '",
    ),
    **dict.fromkeys(
        ("app:nothing", "app:bad", "app:toolarge", "app:4294967295", "app:-1", "app:nothing:wheel", "app: wheel", "app:more", "app:+", "app:#old",
         "1000:" + "9" * 5000, "app:\u0661"),
        "There is no group '",
    ),
}  # fmt: skip
CASES: list[tuple[str, t.Any]] = list(USERS.items())
