#!/bin/sh
# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# The runtime named in the file "real"; but where there is a file "fault", a restore stands still while the root file system of the
# container is mounted for CRIU, and says so with the file "hangs". The files are in the directory above that of this program.
base=$(dirname "$(dirname "$0")")
read -r real <"$base/real"
case " $* " in
*" restore "*) ;;
*) exec "$real" "$@" ;;
esac
if ! test -e "$base/fault"; then
  exec "$real" "$@"
fi
rm "$base/fault"
for id; do :; done # the last word
"$real" "$@" &
child=$!
until grep -q "/$id/.*criu-root " /proc/self/mountinfo; do
  kill -0 "$child" || exit
done
kill -STOP "$child"
touch "$base/hangs"
wait "$child"
