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
  - Runs a command in a running container of M(longshore.oci.oci_container), waits for it, and returns what C(ansible.builtin.command)
    returns. Alternatively, it only starts the command, and later tasks wait for it, stop it or delete its session.
  - conmon and the OCI runtime start the command, so the command never blocks the task. The task ends together with the command, even if
    a background process of the command keeps the output open.
  - The command has the environment, directory, user, capabilities and limits of the first process of the container, unless options
    override them.
  - The container needs no shell. The module expands nothing on the host.
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._directories
  - longshore.oci._output
attributes:
  check_mode:
    support: partial
    details:
      - The command does not run, and the task is skipped like a task of C(ansible.builtin.command). With O(creates) or O(removes), the
        task reports whether the command would have run. A task that waits for a session is skipped too.
      - Use C(check_mode=false) on the task for a command that changes nothing and runs in check mode too.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Only with O(creates) or O(removes), with O(session) and O(detach=true), and with O(state=stopped) or O(state=absent).
options:
  name:
    description: Name of the container. It must run, except with O(state=stopped) and O(state=absent).
    type: str
    required: true
    aliases: [container]
  state:
    description:
      - V(started) runs the command. It changes nothing with O(detach=true) and an O(session) that already runs exactly this command.
      - V(finished) waits for a detached session, and returns its result as if this task had run the command. Several tasks can do this for
        the same session.
      - V(stopped) stops a detached session and keeps its result.
      - V(absent) stops the session if it runs, and deletes it with its result.
    type: str
    choices: [started, finished, stopped, absent]
    default: started
  argv:
    description:
      - The command as a list. The first element is the program, which is searched in the C(PATH) of the container.
      - Text is refused, because Ansible would split it at commas. Use O(command) for it.
      - One of O(argv) and O(command) is required with O(state=started).
    type: list
    elements: raw
  command:
    description:
      - The command as a string. The module splits it into words as a shell does, but uses no shell. Pipes, variables and wildcards are not
        available. To use them, run the shell of the container as the command.
    type: str
  env:
    description:
      - Environment variables, in addition to those of the container. They override variables of the same name.
      - Values must be strings. The module refuses values that YAML reads as a number or a boolean, so put them in quotes.
      - The values are secret. They are hidden in logs and results, unless the command itself prints them.
    type: dict
  stdin:
    description:
      - Standard input of the command. It is secret, like the values of O(env). By default, the input is empty.
      - With O(tty=true), it is typed into the terminal, followed by C(Ctrl-D). The module refuses lines of more than 4095 bytes and
        characters such as C(Ctrl-C), which a terminal does not pass on.
    type: str
  stdin_add_newline:
    description: Whether to add a newline to O(stdin).
    type: bool
    default: true
  user:
    description:
      - User that runs the command, as a name or a uid, optionally with C(:group) or C(:gid). It has the same meaning as the option C(user)
        of M(longshore.oci.oci_bundle). Put numbers with a colon in quotes, because YAML reads C(33:33) as one number.
      - Names come from C(/etc/passwd) and C(/etc/group) of the container. Numbers work without these files and are never treated as names.
        If these are not regular files that can be read at once, the module refuses names, and with a runtime other than crun also numbers.
      - A user other than that of the container, except uid 0, gets no capabilities. It gets its own C(HOME).
      - Default is the user of the container.
    type: str
  chdir:
    description: Absolute path of the directory in the container in which the command runs. Default is the directory of the container.
    type: str
    aliases: [workdir]
  tty:
    description:
      - Give the command a terminal, for programs that behave differently without one. Its standard error is then part of its standard
        output, and lines end with CR LF.
      - The container needs a C(devpts) mount at C(/dev/pts).
    type: bool
    default: false
  privileged:
    description:
      - Give the command all capabilities (any user other than root can only acquire them), and remove C(no_new_privs) and the AppArmor
        profile. The seccomp filter and the namespaces stay those of the container.
    type: bool
    default: false
  capabilities:
    description: Additional capabilities for the command, such as V(NET_ADMIN). They apply to any user.
    type: list
    elements: str
    default: []
  no_new_privs:
    description: Whether the command cannot gain privileges, for example through a setuid program. Default is the setting of the container.
    type: bool
  timeout:
    description:
      - Maximum run time of the command in seconds. After that, the module stops the session. It sends SIGTERM to the command and to all
        processes that the command has started, and SIGKILL after O(stop_timeout) seconds. The task fails with RV(timed_out) and the
        output up to that time.
      - This also applies to O(state=finished). M(longshore.oci.oci_container_info) returns information about a session without stopping it.
      - Cannot be used with O(detach=true).
    type: float
  stop_timeout:
    description: Seconds between SIGTERM and SIGKILL when the module stops a session. V(0) kills at once.
    type: float
    default: 10
  detach:
    description:
      - Start the command without waiting for it. The command continues after the task, and RV(session) identifies it.
      - A log keeps its output, and its exit code is kept too, until a task deletes the session (O(state=absent)).
      - The command ends together with its container, and its result is then lost.
    type: bool
    default: false
  session:
    description:
      - Id of the session. Required with all states except V(started), which has a random default.
      - At most 64 letters, digits, C(_), C(-) and C(.).
    type: str
  creates:
    description:
      - A path in the container, or a pattern (C(*), C(?), C([])). If a matching file exists, the command does not run.
      - A relative path starts at O(chdir).
    type: str
  removes:
    description: The same as O(creates), but if no matching file exists, the command does not run.
    type: str
  runtime:
    description:
      - Name or path of the OCI runtime. The commands of a container always use the runtime that created the container. If this option
        names another one, the task fails. V(auto) and the default accept any runtime.
    type: str
notes:
  - A process that has left the session of the command (C(setsid)) and has lost its parent belongs to the container. The module does not
    stop it together with the command.
  - The module treats an exit code from 129 to 192 as 128 plus the number of a signal, as a shell does.
  - If a task is killed while it waits for a command, the next task that runs a command in the container, or stops it, stops this command.
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

- name: Show its output
  ansible.builtin.debug:
    var: orders_kernel.stdout

- name: Use the shell of the container, as another user and in another directory
  longshore.oci.oci_exec:
    name: orders
    argv: [/bin/sh, -c, 'echo "$GREETING from $(id -u) in $PWD" | tr a-z A-Z']
    env:
      GREETING: hello
    user: "1000:1000"
    chdir: /dev/shm

- name: Give a command standard input and at most 30 seconds
  longshore.oci.oci_exec:
    name: orders
    command: wc -l
    stdin: "{{ ['one', 'two'] | join('\n') }}"
    timeout: 30

- name: Run a command only once
  longshore.oci.oci_exec:
    name: orders
    command: touch /dev/shm/done
    creates: /dev/shm/done

- name: Start a long command in the background
  longshore.oci.oci_exec:
    name: orders
    argv: [/bin/sh, -c, 'sleep 1; echo "The backup is complete."']
    session: backup
    detach: true

- name: Wait for it and return its result
  longshore.oci.oci_exec:
    name: orders
    session: backup
    state: finished
    timeout: 600
  register: orders_backup

- name: Delete its session
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
  returned: always, except with O(state=stopped) and O(state=absent)
  type: list
  elements: str
  sample: [uname, -r]
rc:
  description:
    - Exit code of the command. For a command that a signal killed, 128 plus the number of the signal.
    - 127 if the program does not exist, and 126 if it cannot be executed.
    - The task fails for any exit code other than 0.
  returned: when the command has ended
  type: int
  sample: 0
stdout:
  description:
    - Standard output, as text. Bytes that are not UTF-8 are handled as in C(ansible.builtin.command), but ansible-core 2.19 and newer
      fails because of them, so each becomes U+FFFD, with a warning. For binary output, use O(stdout_path), or base64 in the command.
  returned: when the command ran
  type: str
  sample: 6.1.0
stdout_lines:
  description: The same output as a list of lines.
  returned: when the command ran
  type: list
  elements: str
  sample: [6.1.0]
stdout_truncated:
  description: Whether the module discarded a part of the standard output because of O(output_limit).
  returned: when the command ran
  type: bool
stderr_truncated:
  description: The same for the standard error.
  returned: when the command ran
  type: bool
stderr:
  description: Standard error.
  returned: when the command ran
  type: str
stderr_lines:
  description: The same output as a list of lines.
  returned: when the command ran
  type: list
  elements: str
start:
  description: Start time of the command, in local time of the host.
  returned: when the command ran
  type: str
  sample: "2026-01-02 03:04:05.123456"
end:
  description: End time of the command, in local time of the host.
  returned: when the command has ended
  type: str
  sample: "2026-01-02 03:04:05.234567"
delta:
  description: Run time of the command.
  returned: when the command has ended
  type: str
pid:
  description: Process id of the command on the host.
  returned: when the command ran
  type: int
signal:
  description: Name of the signal that killed the command, V(null) without a signal.
  returned: when the command has ended
  type: str
  sample: KILL
oom_killed:
  description: Whether the kernel killed a process of the container during the command because memory was exhausted.
  returned: when the command ran
  type: bool
timed_out:
  description: Whether the module stopped the command because of O(timeout).
  returned: when the command ran
  type: bool
session:
  description: Id of the session. If the task waited for the command, the session is already deleted, unless it was detached.
  returned: when there is a session
  type: str
exec_session:
  description:
    - A detached session, as M(longshore.oci.oci_container_info) lists it. V(null) if the session does not exist.
    - With O(state=stopped), it contains the exit code of the command, which does not make the task fail.
  returned: for detached sessions, except with O(state=absent)
  type: dict
  contains:
    session:
      description: Id of the session.
      type: str
    status:
      description: Status, one of V(starting), V(running) and V(finished).
      type: str
    detached:
      description: Whether the command continues without the task that started it.
      type: bool
    argv:
      description: The command.
      type: list
      elements: str
    user:
      description: The requested user, V(null) for the user of the container.
      type: str
    tty:
      description: Whether the command has a terminal.
      type: bool
    pid:
      description: Process id of the command, V(null) if it has ended.
      type: int
    rc:
      description: Exit code. V(null) while the command runs, and if the exit code is lost (because conmon was killed).
      type: int
    signal:
      description: Name of the signal that killed the command.
      type: str
    oom_killed:
      description: Whether the kernel killed a process of the container during the command because memory was exhausted.
      type: bool
    timed_out:
      description: Whether the module stopped the command because of a O(timeout).
      type: bool
    started_at:
      description: Start time, in RFC 3339 format in UTC.
      type: str
    finished_at:
      description: End time, in the same format.
      type: str
    log_path:
      description: Path of the file on the host with its output, in conmon's format V(k8s-file).
      type: str
  sample:
    session: backup
    status: running
runtime_log:
  description: Last lines of the log of the runtime. C(conmon_log) is returned in the same way.
  returned: when the command could not run
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._exec.sessions import Sessions
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, secrets
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
    params = secrets.conceal(module)

    def act(module: AnsibleModule) -> dict[str, t.Any]:
        return oci_exec.perform(module, Sessions(**boundary.directories(params)), params)

    boundary.run(module, act, lambda: secrets.in_failures(params))


if __name__ == "__main__":
    main()
