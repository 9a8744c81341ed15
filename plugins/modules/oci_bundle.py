#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_bundle
short_description: Make OCI bundles from images or root file systems
version_added: 0.1.0
description:
  - Makes a directory with a C(config.json) and a root file system, which M(longshore.oci.oci_container) runs, from an image
    or from a root file system on the host. There is no daemon.
  - C(skopeo) fetches images into a cache that all bundles of the host share, and C(umoci) unpacks them. The
    C(config.json) is Longshore's own, made of what the image says, the options, and the defaults of podman (capabilities,
    mounts, masked paths, seccomp).
  - A bundle that is as it should be is left alone, and no program is started to find that out, but with O(pull=always).
    An option that was taken away is a change too.
  - With every change the bundle gets a new root file system. What a container wrote to its root file system is no part of
    the next one; use O(mounts), or volumes of the image (O(image_volumes)), for what shall stay. A container that exists
    keeps the root file system it has until it is made anew.
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._bundle
  - longshore.oci._directories
attributes:
  check_mode:
    support: full
    details:
      - Images are looked up in their registries, and not fetched.
      - A user that has only a name in an image that was not fetched yet is left out of the diff.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - With O(pull=always) as long as the image stays the same.
options:
  path:
    description:
      - Directory of the bundle. An absolute path. The directories above are made.
      - A directory that is there already, is not empty and was not made by this module is refused.
      - The directory is for the user of the task alone (mode 0700), in every run. An empty one of another user is taken over
        by root. A bundle, or a directory above it, that another user can change is refused, and so are O(rootfs),
        O(env_files), O(seccomp), O(authfile) and O(ca_cert_dir).
    type: path
    required: true
  state:
    description:
      - V(present) makes the bundle, or changes it to what is asked for.
      - V(absent) removes it, with the volumes in it. Refused while a container has it.
      - V(absent) also removes an empty directory, which a task that was killed may have left. It refuses a symbolic link, and
        a directory at or in which something is mounted.
    type: str
    choices: [present, absent]
    default: present
  image:
    description:
      - Image to make the bundle of, as C(skopeo) writes it. With one of C(docker://), C(oci:), C(oci-archive:), C(docker-archive:),
        C(dir:), C(containers-storage:) and C(docker-daemon:) in front.
      - An image is known by its digests. Name it with C(@sha256:...) at the end to have exactly that one.
      - One of O(image) and O(rootfs) is needed.
    type: str
  rootfs:
    description:
      - Directory or tar archive on the host to make the root file system of. The archive may be compressed, in any way that
        C(tar) on the host understands.
      - A directory is copied again when a name, owner, mode, size or time in it has changed.
    type: path
  pull:
    description:
      - When to ask for O(image) where it comes from.
      - V(missing) asks once for each O(image) and O(platform) on a host, and takes it from the cache after that.
      - V(always) asks every time, and fetches what is not in the cache. V(never) takes it from the cache or fails.
    type: str
    choices: [missing, always, never]
    default: missing
  platform:
    description: Which one of an image for several platforms, as V(linux/arm64) or V(linux/arm/v7). Default is that of the host.
    type: str
  authfile:
    description: File on the host with credentials, as C(skopeo login) writes it. Default is C(skopeo)'s own.
    type: path
  username:
    description: User name for the registry.
    type: str
  password:
    description: Password for the registry. It is in no log, no command line and no file.
    type: str
  tls_verify:
    description: Whether the registry must speak TLS with a certificate that the host trusts.
    type: bool
    default: true
  ca_cert_dir:
    description:
      - Directory on the host with certificates (C(*.crt)) of whom to trust, and those (C(*.cert), C(*.key)) to show.
      - Default is what C(/etc/containers/certs.d) has for the registry.
    type: path
  timeout:
    description: Seconds for all that has to be looked up, fetched, unpacked and copied.
    type: float
    default: 1800
  rootfs_mode:
    description:
      - V(copy) gives the bundle a copy of the root file system, which shares blocks with the cache on file systems that can
        (XFS, Btrfs).
      - V(overlay) mounts an overlay over the cache. It takes no space, but has to be mounted again after a reboot. This module
        does so whenever it runs, and so does a service (O(longshore.oci.oci_container#module:service)). Needs root, and does not go with O(userns).
    type: str
    choices: [copy, overlay]
    default: copy
seealso:
  - module: longshore.oci.oci_container
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Make a bundle of an image
  longshore.oci.oci_bundle:
    path: /srv/shop
    image: docker://registry.example.com/shop:1
    env:
      LISTEN: "8080"
    mounts:
      - /srv/shop-data:/data

- name: Run it
  longshore.oci.oci_container:
    name: shop
    bundle: /srv/shop

- name: Ask the registry for a newer image each time, with a password
  longshore.oci.oci_bundle:
    path: /srv/shop
    image: docker://registry.example.com/shop:1
    pull: always
    username: robot
    password: "{{ registry_password | default('secret') }}"

- name: See what other options would change, and do nothing
  longshore.oci.oci_bundle:
    path: /srv/shop
    image: docker://registry.example.com/shop:1
    read_only: true
    memory: 256m
    capabilities_drop: [all]
    user: "1000:1000"
    tmpfs:
      - /scratch:size=16m
    ulimits:
      - nofile=1024:4096
  check_mode: true
  diff: true

- name: Share the network of another container, and set what no option has
  longshore.oci.oci_bundle:
    path: /srv/sidecar
    image: docker://registry.example.com/shop:1
    command: sh -c "sleep 5"
    network: container:shop
    spec:
      linux:
        rootfsPropagation: rslave

- name: Make a bundle of a root file system
  longshore.oci.oci_bundle:
    path: /srv/plain
    rootfs: /srv/rootfs
    argv: [sh, -c, "echo hello"]
    network: host

- name: Remove the container, and all bundles
  longshore.oci.oci_container:
    name: shop
    state: absent

- name: Remove the bundles
  longshore.oci.oci_bundle:
    path: "{{ item }}"
    state: absent
  loop:
    - /srv/shop
    - /srv/sidecar
    - /srv/plain
"""

RETURN = r"""
bundle:
  description: The bundle after the task. In check mode, as it is.
  returned: success
  type: dict
  contains:
    path:
      description: Its directory.
      type: str
    config_digest:
      description: Digest of what its C(config.json) means. V(null) for a bundle that is not there.
      type: str
    image:
      description: The C(reference), C(platform) and C(digest) of its image, the digest as its registry has it. V(null) without one.
      type: dict
    rootfs:
      description: Its root file system.
      type: str
    rootfs_digest:
      description: Digest of what the root file system was made of. The same for images with the same layers.
      type: str
  sample:
    path: /srv/shop
    config_digest: sha256:0f31f2ba59748963cb01e7d5c55b2fe8dec3104d2b204c4ea631814e842bbbce
    image:
      reference: docker://registry.example.com/shop:1
      platform: null
      digest: sha256:6fc20c49f68c5df1154379e0a5891a8424b3cac1df2d260528a0b1da5db1921e
    rootfs: /srv/shop/rootfs-34bf7b2d1d51
    rootfs_digest: sha256:73b68b79bf28ce1c7072b2a8af1d927ea854cb8f4726f7848efc2a236b2681c6
actions:
  description:
    - What was done, or in check mode would be, in this order.
    - V(pull) fetched the image, V(rootfs) made a root file system, V(mount) mounted one again, V(config) wrote
      C(config.json) and what belongs to it, V(remove) removed the bundle.
  returned: success
  type: list
  elements: str
  sample: [pull, rootfs, config]
diff:
  description:
    - What is different, by JSON path of C(config.json). Values of the environment are hidden.
    - A bundle that comes or goes has its C(state) only.
  returned: success
  type: dict
  sample:
    before:
      state: present
      process.args[2]: sleep 1
    after:
      state: present
      process.args[2]: sleep 2
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, bundle


def main() -> None:
    module = AnsibleModule(argument_spec=bundle.ARGUMENTS, supports_check_mode=True, **bundle.RULES)
    params = bundle.conceal(module)

    def converge(module: AnsibleModule) -> dict[str, t.Any]:
        request = bundle.request(params)
        bundles = Bundles(**boundary.directories(params))
        return bundle.result(module, bundles.converge(request, check=module.check_mode))

    boundary.run(module, converge)


if __name__ == "__main__":
    main()
