# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors
"""Real systemd hosts for the tests, booted on this machine under systemd-nspawn."""
