# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

# Sees to the programs that a script needs, on Debian by installing their packages.

declare -A debian_package_of=(
    [busybox]=busybox-static
    [chromedriver]=chromium-driver
    [chromium]=chromium
    [conmon]=conmon
    [crun]=crun
    [docker-registry]=docker-registry
    [git]=git
    [ip]=iproute2
    [iptables-nft]=iptables
    [nft]=nftables
    [openssl]=openssl
    [pasta]=passt
    [runc]=runc
    [skopeo]=skopeo
    [slirp4netns]=slirp4netns
    [umoci]=umoci
)

# require_commands COMMAND...: returns 0 when all of them are there, if need be after installing what is missing.
require_commands() {
    local command missing=() packages=()
    for command in "$@"; do
        if ! command -v "$command" >/dev/null; then
            missing+=("$command")
            packages+=("${debian_package_of[$command]}")
        fi
    done
    if ((${#missing[@]} == 0)); then
        return 0
    fi
    echo "missing: ${missing[*]}" >&2
    install_packages "${packages[@]}"
}

# install_packages PACKAGE...: installs Debian packages, or says why it cannot.
install_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "this is not Debian: please install what it calls $*" >&2
        return 1
    fi
    if ((EUID != 0)); then
        echo "only root can install packages: apt-get install $*" >&2
        return 1
    fi
    echo "installing: $*" >&2
    local log
    log=$(mktemp)
    if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"; } \
        >"$log" 2>&1 </dev/null; then
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
}
