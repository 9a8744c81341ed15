# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

# Finds a Python for the controller side and builds a virtual environment with pinned packages, once.
#
# Python is started with -I: root may be in a directory of another user, and have his environment.

# find_python MINIMUM: prints the path of a Python of at least that version (such as 3.11) that can make environments.
find_python() {
    local minimum=$1 path
    if [[ -n ${LONGSHORE_PYTHON:-} ]]; then
        if ! path=$(python_path "$minimum" "$LONGSHORE_PYTHON"); then
            echo "LONGSHORE_PYTHON=$LONGSHORE_PYTHON is not a Python $minimum or newer" >&2
            return 1
        fi
    elif ! path=$(first_python "$minimum") &&
        ! { install_packages python3 python3-venv && path=$(first_python "$minimum"); }; then
        echo "no Python $minimum or newer found: install one, or name it with LONGSHORE_PYTHON" >&2
        return 1
    fi
    # Debian ships ensurepip apart, in a package that is called after the version.
    if ! "$path" -I -c 'import ensurepip, venv' 2>/dev/null; then
        install_packages "$("$path" -I -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" || return 1
    fi
    echo "$path"
}

first_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3; do
        if python_path "$1" "$candidate"; then
            return 0
        fi
    done
    return 1
}

# python_path MINIMUM COMMAND: prints which interpreter COMMAND starts, if it starts one that is new enough. Only running
# it tells: the python3.x shims of a version manager exist even where they only print an error.
python_path() {
    "$2" -I -c 'import sys; wanted = tuple(map(int, sys.argv[1].split("."))); sys.version_info >= wanted or sys.exit(1)
print(sys.executable)' "$1" 2>/dev/null </dev/null
}

# cache_directory PYTHON: prints the path of the cache, which is made where it is missing. Programs in it are run, so one in
# which another user can write is refused.
cache_directory() {
    local cache home=${HOME:-}
    if [[ -n ${LONGSHORE_CACHE:-} ]]; then
        cache=$LONGSHORE_CACHE
    elif [[ ${XDG_CACHE_HOME:-} == /* ]]; then
        cache=$XDG_CACHE_HOME/longshore-oci
    else
        # As in a unit of systemd, or after "env -i".
        if [[ -z $home ]] && ! home=$(getent passwd "$EUID" | cut -d: -f6) || [[ $home != /* ]]; then
            echo "there is no home directory to keep the cache in: set LONGSHORE_CACHE" >&2
            return 1
        fi
        cache=$home/.cache/longshore-oci
    fi
    [[ $cache == /* ]] || cache=$PWD/$cache
    if ! own_directory "$1" "$cache" 0700 >/dev/null; then
        echo "the cache directory $cache cannot be used: repair it, or set LONGSHORE_CACHE" >&2
        return 1
    fi
    echo "$cache"
}

# own_directory PYTHON PATH [MODE]: fails with a sentence if another user can write to the directory. With MODE it is made.
own_directory() {
    "$1" -I "$(dirname -- "${BASH_SOURCE[0]}")/../../roles/demo_bundle/files/own_directory.py" "${@:2}"
}

# make_environment PYTHON CACHE LOCK: prints the path of the virtual environment for these very inputs. CACHE is one of
# cache_directory.
make_environment() {
    local python=$1 cache=$2 lock=$3 key environment
    key=$({ "$python" -I -c 'import sys; print(sys.executable, sys.version)' && cat "$lock"; } | sha256sum)
    environment=$cache/venv-${key:0:12}
    # Two runs at the same time must not build the same environment.
    exec 9>"$environment.lock"
    flock 9
    if [[ ! -e $environment/.complete ]]; then
        echo "installing Ansible and what belongs to it, once: $environment" >&2
        rm -rf "$environment"
        # Only the files of the lock. A file that must be built would bring in packages that are not pinned.
        if ! { "$python" -I -m venv "$environment" && "$environment/bin/python" -I -m pip install \
            --disable-pip-version-check --require-hashes --only-binary :all: --requirement "$lock"; } \
            >"$environment.log" 2>&1 </dev/null; then
            cat "$environment.log" >&2
            return 1
        fi
        touch "$environment/.complete"
    fi
    exec 9>&-
    echo "$environment"
}
