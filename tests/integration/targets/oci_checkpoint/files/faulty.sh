#!/bin/sh
# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# The runtime named in the file "real"; but where the file "fault" says so, it kills one of those who take part in a
# checkpoint or restore, once CRIU is at work, or makes the file "hangs" and waits until that is gone: "before" it fails, "late" before it
# does its part, or "after" it has. All of them are in the directory above that of this program.
base=$(dirname "$(dirname "$0")")
read -r real <"$base/real"
verb='' previous='' work='' when='' victim=''
for word in "$@"; do
  case $word in checkpoint | restore) verb=$word ;; esac
  case $previous in --work-path) work=$word ;; esac
  previous=$word
done
if test -e "$base/fault"; then
  read -r when victim <"$base/fault"
fi
if test -z "$verb" || test "$verb" != "$when"; then
  exec "$real" "$@"
fi
rm "$base/fault"
rm -f "$base/killed"
hang() {
  touch "$base/hangs"
  while test -e "$base/hangs"; do sleep 0.05; done
}
case $victim in
  before)
    hang
    exit 1
    ;;
  late)
    hang
    sleep 1
    exec "$real" "$@"
    ;;
esac
"$real" "$@" &
child=$!
if test "$victim" = after; then
  wait "$child"
  hang
  exit 0
fi
# The log is there when CRIU is at work, and then there is little time.
if test "$verb" = checkpoint; then log=$work/dump.log; else log=$work/restore.log; fi
until test -s "$log"; do
  kill -0 "$child" || break
done
test "$victim" != conmon || touch "$base/killed" # first: this shell dies with conmon
case $victim in
  criu) cat "/proc/$child/task/"*/children | xargs -r kill -KILL ;; # of any thread: runc is written in Go
  runtime) kill -KILL "$child" ;;
  conmon) kill -KILL "$PPID" ;;
esac && touch "$base/killed"
wait "$child"
