# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's configuration of the site that bin/docs builds from the pages of antsibull-docs."""

import pathlib
import zlib

project = title = html_short_title = "longshore.oci"
copyright = "Longshore contributors"
extensions = ["sphinx.ext.intersphinx", "sphinx_antsibull_ext"]
default_role = "any"
nitpicky = True
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
html_theme = "sphinx_rtd_theme"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_show_sphinx = html_copy_source = html_use_modindex = html_use_index = False

# The pages of antsibull-docs refer to labels and modules of Ansible's own documentation. Its inventory would have to be
# downloaded; this one has what we refer to.
_ANSIBLE = "https://docs.ansible.com/ansible/latest/"
_TARGETS = """\
ansible_configuration_settings std:label -1 reference_appendices/config.html Ansible Configuration Settings
common_return_values std:label -1 reference_appendices/common_return_values.html Common return values
ansible_collections.ansible.builtin.command_module std:label -1 collections/ansible/builtin/command_module.html ansible.builtin.command module
"""


def _inventory() -> str:
    """Write Ansible's part of the inventory beside the built pages; return its path."""
    path = pathlib.Path.cwd() / "ansible.inv"
    head = "# Sphinx inventory version 2\n# Project: ansible\n# Version: 0\n"
    compressed = "# The remainder of this file is compressed using zlib.\n"
    path.write_bytes((head + compressed).encode() + zlib.compress(_TARGETS.encode()))
    return str(path)


intersphinx_mapping = {"ansible": (_ANSIBLE, _inventory())}
