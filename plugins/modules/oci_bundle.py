#!/usr/bin/python
# Copyright (c) Longshore contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_bundle
short_description: Create OCI bundles from images or root file systems
version_added: 0.1.0
description:
  - Creates a directory with a C(config.json) and a root file system, which M(longshore.oci.oci_container) runs. It uses an image or a root
    file system on the host. There is no daemon.
  - C(skopeo) fetches images into a cache that all bundles of the host share, and C(umoci) unpacks them. Longshore generates the
    C(config.json) from the image, the options, and the defaults of podman (capabilities, mounts, masked paths, seccomp).
  - If the bundle already has the requested content, the module changes nothing. It starts no program to find this out, except with
    O(pull=always), and for an image of C(containers-storage:) or C(docker-daemon:). Removing an option from the task is a change.
  - With every change, the bundle gets a new root file system. It does not contain files that a container wrote to the old one. For data
    that must survive, use O(mounts) or volumes of the image (O(image_volumes)). An existing container keeps its root file system until it
    is recreated.
  - A change of the host alone writes only the C(config.json) again, and keeps the root file system. Such changes are another default seccomp
    profile, other capabilities and limits of a new kernel, another default AppArmor profile, other numbers of O(devices) and another file
    with name servers. M(longshore.oci.oci_container) warns about them, and does not recreate the container for them.
extends_documentation_fragment:
  - longshore.oci._attributes
  - longshore.oci._attributes.action_group
  - longshore.oci._bundle
  - longshore.oci._directories
attributes:
  check_mode:
    support: full
    details:
      - The module looks up images in their registries, but does not fetch them.
      - If an image that is not fetched yet gives its user by name, the diff does not show the user.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - With O(pull=always), as long as the image stays the same.
options:
  path:
    description:
      - Absolute path of the directory of the bundle. The module creates missing parent directories.
      - The module refuses an existing directory that is not empty and that it did not create.
      - Every run ensures that only the user of the task can access the directory (mode 0700). As root, the module changes the owner of an
        empty directory of another user. It refuses a bundle, or a directory above it, that another user can change. The same applies to
        O(rootfs), O(env_files), O(seccomp), O(authfile) and O(ca_cert_dir).
    type: path
    required: true
  state:
    description:
      - V(present) creates the bundle, or changes it as requested.
      - V(absent) removes the bundle and its volumes. The module refuses this while a container uses the bundle.
      - V(absent) also removes an empty directory, because a killed task may have left it. It refuses a symbolic link, and a directory
        with a mount at or below it.
    type: str
    choices: [present, absent]
    default: present
  image:
    description:
      - Image for the bundle, in the notation of C(skopeo), with one of the prefixes C(docker://), C(oci:), C(oci-archive:),
        C(docker-archive:), C(dir:), C(containers-storage:) and C(docker-daemon:).
      - The module identifies an image by its digests. Add C(@sha256:...) to the name to select one exact image. As in podman, a tag before
        that does not count.
      - Layers may be compressed with gzip or zstd. Signatures are checked by the policy of the host (C(policy.json)), and not stored.
      - One of O(image) and O(rootfs) is required.
    type: str
  rootfs:
    description:
      - Directory or tar archive on the host with the root file system. C(tar) on the host must support the compression of the archive.
      - A directory is copied again when a name, owner, mode, size or time in it has changed.
      - Nothing that is mounted in a directory, such as C(/proc) of a chroot, is part of the root file system. With root, the files
        below it are. For other users, and with Linux before 5.2, the directory there is empty, with mode 0755, and mounted files are left out.
    type: path
  pull:
    description:
      - When to look up O(image) at its source.
      - With V(missing), a host asks a registry once for each O(image) and O(platform), and uses the cache after that. An image of the
        host itself is the one that is there now. An archive or directory is read again when its file has changed. C(containers-storage:)
        and C(docker-daemon:) are asked each time.
      - With V(missing), the cache is also used when the image is gone from the host. If the store cannot be asked, the module warns.
      - V(always) looks it up every time, and fetches only data that is not in the cache. V(never) uses the cache, and fails if the image is
        not there.
    type: str
    choices: [missing, always, never]
    default: missing
  platform:
    description: Platform of an image for several platforms, such as V(linux/arm64) or V(linux/arm/v7). Default is that of the host.
    type: str
  authfile:
    description: File on the host with credentials, in the format of C(skopeo login). Default is the default of C(skopeo).
    type: path
  username:
    description: User name for the registry.
    type: str
  password:
    description: Password for the registry. It does not appear in logs, command lines or files.
    type: str
  tls_verify:
    description: Whether the registry must use TLS with a certificate that the host trusts.
    type: bool
    default: true
  ca_cert_dir:
    description:
      - Directory on the host with CA certificates (C(*.crt)) and client certificates with keys (C(*.cert), C(*.key)).
      - Default is the directory of the registry in C(/etc/containers/certs.d).
    type: path
  timeout:
    description:
      - Seconds for all lookups, downloads, unpacking and copying.
      - A path of the host on a network or FUSE file system that does not answer within this time, or within 120 seconds, is an error that
        names the path.
    type: float
    default: 1800
  rootfs_mode:
    description:
      - V(copy) gives the bundle a copy of the root file system. On file systems that support it (XFS, Btrfs), the copy shares blocks with
        the cache.
      - V(overlay) mounts an overlay on top of the cache. It needs no space, but must be mounted again after a reboot. Each run of this
        module does so, and so does a service (O(longshore.oci.oci_container#module:service)). Needs root, and cannot be used with
        O(userns).
      - V(auto) is V(overlay) for a new bundle where an overlay can be mounted, which needs root, no O(userns), an image or archive as the
        source, and a file system that supports it. Otherwise it is V(copy). An existing bundle keeps its mode.
      - The default is V(copy), because a container that is no service cannot be started after a reboot before this module has mounted
        its overlay. The role P(longshore.oci.container#role) uses V(auto) for services.
    type: str
    choices: [auto, copy, overlay]
    default: copy
seealso:
  - module: longshore.oci.oci_container
author:
  - Longshore contributors (@longshore)
"""

EXAMPLES = r"""
- name: Create a bundle from an image
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

- name: Show what other options would change
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

- name: Share the network of another container, and change a setting without an option
  longshore.oci.oci_bundle:
    path: /srv/sidecar
    image: docker://registry.example.com/shop:1
    command: sh -c "sleep 5"
    network: container:shop
    spec:
      linux:
        rootfsPropagation: rslave

- name: Create a bundle from a root file system
  longshore.oci.oci_bundle:
    path: /srv/plain
    rootfs: /srv/rootfs
    argv: [sh, -c, "echo hello"]
    network: host

- name: Remove the container
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
  description: State of the bundle after the task. In check mode, its current state.
  returned: success
  type: dict
  contains:
    path:
      description: Directory of the bundle.
      type: str
    config_digest:
      description: Digest of the content of its C(config.json), independent of its form. V(null) for a bundle that does not exist.
      type: str
    image:
      description: The C(reference), C(platform) and C(digest) of its image. The digest is that of the registry. V(null) without an image.
      type: dict
    rootfs:
      description: Path of its root file system.
      type: str
    rootfs_digest:
      description: Digest of the source of the root file system. Images with the same layers have the same digest.
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
    - The actions of the module in this order. In check mode, the actions that it would carry out.
    - V(pull) fetched the image, V(rootfs) created a root file system, V(mount) mounted it again, V(config) wrote C(config.json) and
      related files, V(remove) removed the bundle.
  returned: success
  type: list
  elements: str
  sample: [pull, rootfs, config]
diff:
  description:
    - Differences, by JSON path of C(config.json). Values of the environment are hidden.
    - For a bundle that is created or removed, only its C(state).
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
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary, bundle, secrets


def main() -> None:
    module = AnsibleModule(argument_spec=bundle.ARGUMENTS, supports_check_mode=True, **bundle.RULES)
    params = secrets.conceal(module)

    def converge(module: AnsibleModule) -> dict[str, t.Any]:
        request = bundle.request(params)
        bundles = Bundles(**boundary.directories(params))
        return bundle.result(module, bundles.converge(request, check=module.check_mode))

    boundary.run(module, converge, lambda: secrets.in_failures(params))


if __name__ == "__main__":
    main()
