# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors
