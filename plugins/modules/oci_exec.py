#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_exec
short_description: Run commands in OCI containers
version_added: 0.1.0
description:
  - Runs a command in a container of M(longshore.oci.oci_container) that runs, waits for it, and returns what
    C(ansible.builtin.command) returns. Or starts it, and lets later tasks wait for it, stop it and forget it.
  - The command is started by conmon and the OCI runtime, so it never hangs the task. The task ends when the command does,
    also where a process that the command has started in the background holds on to its output.
  - The command gets the environment, directory, user, capabilities and limits of the container's own first process, unless
    the options say otherwise.
  - The container needs no shell. Nothing is expanded on the host.
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._directories
  - longshore.oci._output
attributes:
  check_mode:
    support: partial
    details:
      - A command is not run, and the task is skipped as one of C(ansible.builtin.command) is. With O(creates) or O(removes)
        it says whether the command would have been run. Waiting for a session is skipped too.
      - C(check_mode=false) on the task lets a command that only looks run anyway.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Only with O(creates) or O(removes), with O(session) and O(detach=true), and with O(state=stopped) or O(state=absent).
options:
  name:
    description: Name of the container. It must run, but for O(state=stopped) and O(state=absent).
    type: str
    required: true
    aliases: [container]
  state:
    description:
      - V(started) runs the command. With O(detach=true) and an O(session) that runs this very command already, nothing is
        done.
      - V(finished) waits for a detached session, and returns its result as if its command had been run by this task. It can
        be asked for again and again.
      - V(stopped) stops a detached session. Its result is kept.
      - V(absent) stops the session if it runs, and forgets it.
    type: str
    choices: [started, finished, stopped, absent]
    default: started
  argv:
    description:
      - The command as a list of words. The first is looked for in the C(PATH) of the container.
      - One of O(argv) and O(command) is needed with O(state=started).
    type: list
    elements: str
  command:
    description:
      - The command as a string. It is split into words like a shell does, and never given to one. There are no pipes,
        variables or wildcards. For these make the shell of the container the command.
    type: str
  env:
    description:
      - More environment variables, and others than the container has.
      - Values must be strings. What YAML reads as a number or a boolean is refused, so put it in quotes.
      - The values are secret. They are hidden in logs and results, unless the command itself prints them.
    type: dict
  stdin:
    description:
      - Standard input of the command. It is secret, as the values of O(env) are. Without it the input is empty.
      - With O(tty=true) it is typed into the terminal, and followed by C(Ctrl-D).
    type: str
  stdin_add_newline:
    description: Whether to add a newline to O(stdin).
    type: bool
    default: true
  user:
    description:
      - User that runs the command. A name or a uid, with C(:group) or C(:gid) if wanted.
      - Names are looked up in C(/etc/passwd) and C(/etc/group) of the container. Numbers work without these files, and are
        never taken for names. The files are read only where they are regular files that answer at once. Where they are not, a
        name is refused. Other runtimes than crun read them for every command, so there a number is refused too.
      - Another user than the container's own gets no capabilities, but for uid 0, and a C(HOME) of its own.
      - Default is the container's own user.
    type: str
  chdir:
    description: Directory in the container to run the command in, as an absolute path. Default is the container's own.
    type: str
    aliases: [workdir]
  tty:
    description:
      - Give the command a terminal, for programs that behave otherwise without one. Its errors are then part of its
        output, and lines end in CR LF.
      - The container needs a C(devpts) mounted at C(/dev/pts).
    type: bool
    default: false
  privileged:
    description:
      - Give the command all capabilities (as root; any other user may only gain them), lift C(no_new_privs) and the AppArmor
        profile. Its seccomp filter and its namespaces stay those of the container.
    type: bool
    default: false
  capabilities:
    description: More capabilities for the command, such as V(NET_ADMIN). With any user.
    type: list
    elements: str
    default: []
  no_new_privs:
    description: Whether the command can never gain privileges, by a setuid program perhaps. Default is as in the container.
    type: bool
  timeout:
    description:
      - Seconds that the command may take. Then the session is stopped. SIGTERM goes to the command and all that it has
        started, and after O(stop_timeout) seconds SIGKILL. The task fails, with RV(timed_out) and the output so far.
      - So it is with O(state=finished) too. M(longshore.oci.oci_container_info) looks at a session without stopping it.
      - Cannot be used with O(detach=true).
    type: float
  stop_timeout:
    description: Seconds between SIGTERM and SIGKILL, where a session is stopped. V(0) kills at once.
    type: float
    default: 10
  detach:
    description:
      - Start the command and do not wait for it. It goes on after the task, and is known by RV(session).
      - Its output is kept in a log, and its exit code too, until the session is forgotten (O(state=absent)).
      - It ends with its container, and nothing is kept of it then.
    type: bool
    default: false
  session:
    description:
      - Id of the session. Needed with the other states than V(started), where the default is a random one.
      - Letters, digits, C(_), C(-) and C(.), at most 64 of them.
    type: str
  creates:
    description:
      - A path in the container, or a pattern (C(*), C(?), C([])). When there is such a file, the command is not run.
      - A relative one counts from O(chdir).
    type: str
  removes:
    description: As O(creates). When there is no such file, the command is not run.
    type: str
  runtime:
    description:
      - A container stays with the OCI runtime that it was made with, and so do its commands. When this names another, by
        name or path, the task fails. V(auto) and the default are any.
    type: str
notes:
  - A process that has left the session of the command (C(setsid)) and lost its parent belongs to the container from then
    on. It is not stopped with the command.
  - An exit code from 129 to 192 is taken for 128 and the number of a signal, as a shell does.
  - A command whose task is killed is stopped by the next task that runs a command in the container, or stops it.
seealso:
  - module: longshore.oci.oci_container
  - module: longshore.oci.oci_container_info
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Run a container
  longshore.oci.oci_container:
    name: orders
    bundle: /srv/orders

- name: Run a command in it
  longshore.oci.oci_exec:
    name: orders
    argv: [uname, -r]
  register: orders_kernel
  changed_when: false

- name: Show what it said
  ansible.builtin.debug:
    var: orders_kernel.stdout

- name: Use the shell of the container, as another user, in another directory
  longshore.oci.oci_exec:
    name: orders
    argv: [/bin/sh, -c, 'echo "$GREETING from $(id -u) in $PWD" | tr a-z A-Z']
    env:
      GREETING: hello
    user: "1000:1000"
    chdir: /dev/shm

- name: Feed a command, and allow it 30 seconds
  longshore.oci.oci_exec:
    name: orders
    command: wc -l
    stdin: "{{ ['one', 'two'] | join('\n') }}"
    timeout: 30

- name: Do something once
  longshore.oci.oci_exec:
    name: orders
    command: touch /dev/shm/done
    creates: /dev/shm/done

- name: Start something that takes long
  longshore.oci.oci_exec:
    name: orders
    argv: [/bin/sh, -c, 'sleep 1; echo "The backup is complete."']
    session: backup
    detach: true

- name: Wait for it
  longshore.oci.oci_exec:
    name: orders
    session: backup
    state: finished
    timeout: 600
  register: orders_backup

- name: Forget it
  longshore.oci.oci_exec:
    name: orders
    session: backup
    state: absent

- name: Remove the container
  longshore.oci.oci_container:
    name: orders
    state: absent
"""

RETURN = r"""
cmd:
  description: The command as a list.
  returned: always, but with O(state=stopped) and O(state=absent)
  type: list
  elements: str
  sample: [uname, -r]
rc:
  description:
    - Exit code of the command. It is 128 and the number of the signal for one that was killed.
    - 127 when there is no such program, and 126 when it cannot be executed.
    - The task fails for any other than 0.
  returned: when the command has ended
  type: int
  sample: 0
stdout:
  description:
    - Standard output. Bytes that are not UTF-8 are treated as by C(ansible.builtin.command). With ansible-core 2.19 and
      newer, where that fails because of them, each becomes U+FFFD.
  returned: when the command was run
  type: str
  sample: 6.1.0
stdout_lines:
  description: The same as a list of lines.
  returned: when the command was run
  type: list
  elements: str
  sample: [6.1.0]
stdout_truncated:
  description: Whether there was more standard output than RV(stdout) has, because of O(output_limit).
  returned: when the command was run
  type: bool
  sample: false
stderr_truncated:
  description: The same for the standard error.
  returned: when the command was run
  type: bool
  sample: false
stderr:
  description: Standard error.
  returned: when the command was run
  type: str
  sample: ""
stderr_lines:
  description: The same as a list of lines.
  returned: when the command was run
  type: list
  elements: str
  sample: []
start:
  description: When the command was started, in the time of the host.
  returned: when the command was run
  type: str
  sample: "2026-01-02 03:04:05.123456"
end:
  description: When it ended.
  returned: when the command has ended
  type: str
  sample: "2026-01-02 03:04:05.234567"
delta:
  description: How long it took.
  returned: when the command has ended
  type: str
  sample: "0:00:00.111111"
pid:
  description: Process id of the command on the host.
  returned: when the command was run
  type: int
  sample: 4711
signal:
  description: Name of the signal that killed the command, V(null) when none did.
  returned: when the command has ended
  type: str
  sample: KILL
timed_out:
  description: Whether the command was stopped at its O(timeout).
  returned: when the command was run
  type: bool
  sample: false
session:
  description: Id of the session. One that the task has waited for is forgotten already, unless it was detached.
  returned: when there is one
  type: str
  sample: backup
exec_session:
  description:
    - A detached session, as M(longshore.oci.oci_container_info) lists it. V(null) when there is none.
    - With O(state=stopped) its exit code is here, since it is no failure of the task.
  returned: for detached sessions, but with O(state=absent)
  type: dict
  contains:
    session:
      description: Its id.
      type: str
    status:
      description: V(starting), V(running) or V(finished).
      type: str
    detached:
      description: Whether it goes on without the task that started it.
      type: bool
    argv:
      description: Its command.
      type: list
      elements: str
    user:
      description: The user that was asked for, V(null) for the container's own.
      type: str
    tty:
      description: Whether it has a terminal.
      type: bool
    pid:
      description: Process id of the command, V(null) when it has ended.
      type: int
    rc:
      description: Exit code. V(null) while it runs, and when nobody knows (its conmon was killed).
      type: int
    signal:
      description: Name of the signal that killed it.
      type: str
    timed_out:
      description: Whether it was stopped at a O(timeout).
      type: bool
    started_at:
      description: When it was started, as RFC 3339 in UTC.
      type: str
    finished_at:
      description: When it ended.
      type: str
    log_path:
      description: The file on the host with its output, in conmon's format V(k8s-file).
      type: str
  sample:
    session: backup
    status: running
runtime_log:
  description: The end of the log of the runtime. C(conmon_log) is returned likewise.
  returned: when the command could not be run
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._exec.sessions import Sessions
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary
from ansible_collections.longshore.oci.plugins.module_utils._module import exec as oci_exec


def main() -> None:
    module = AnsibleModule(
        argument_spec=oci_exec.ARGUMENTS,
        mutually_exclusive=[("argv", "command")],
        required_if=[
            ("state", "started", ("argv", "command"), True),
            ("state", "finished", ("session",)),
            ("state", "stopped", ("session",)),
            ("state", "absent", ("session",)),
        ],
        supports_check_mode=True,
    )
    params = oci_exec.conceal(module)

    def act(module: AnsibleModule) -> dict[str, t.Any]:
        return oci_exec.perform(module, Sessions(**boundary.directories(params)), params)

    boundary.run(module, act)


if __name__ == "__main__":
    main()
