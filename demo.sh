#!/usr/bin/env bash
# Sets up the project in .venv and shows it at work: a Hub, a relay, a monitor and a real job.
#
#   ./demo.sh          ends what it started and leaves nothing behind
#   ./demo.sh --keep   leaves it running, and says how to use it and how to stop it
#
# Its state lies in a temporary folder and its port is a free one, so it runs beside a user's Hub.
# The job echoes $HPC_DEMO_TEXT from inside. Needs bash 4.1.
set -euo pipefail
cd "$(dirname "$0")"

keep=false
case "${1-}" in
  "") ;;
  --keep) keep=true ;;
  *) echo "usage: ./demo.sh [--keep]" >&2; exit 2 ;;
esac

echo " setting up in .venv (the first time this builds the package: some minutes)"
# What a build says is of interest only where it fails.
said="$(mktemp "${TMPDIR:-/tmp}/hpc-demo-build.XXXXXX")"
trap 'rm -f "$said"' EXIT
if ! make --silent build >"$said" 2>&1; then
  cat "$said" >&2
  echo "demo: the package could not be built; what is above says why" >&2
  exit 1
fi
rm -f "$said"

hpc="$PWD/.venv/bin/hpc"
text="${HPC_DEMO_TEXT-hello from hpc}"
state="$(mktemp -d "${TMPDIR:-/tmp}/hpc-demo.XXXXXX")"
export HPC_HOME="$state" HPC_CONFIG=/dev/null
unset HPC_HUB_URL HPC_TOKEN
pids=()
SECONDS=0

end() {
  local code=$?
  trap - EXIT INT TERM
  if ! $keep || ((code)); then
    # The monitor and the relay first: the Hub is to hear that they leave.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
      kill "${pids[i]}" 2>/dev/null || true
      wait "${pids[i]}" 2>/dev/null || true
    done
    rm -rf "$state"
  fi
  exit "$code"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# begin NAME COMMAND... starts a part that says in one line when it is ready.
begin() {
  local name=$1
  shift
  mkfifo "$state/$name.ready"
  "$hpc" "$@" >"$state/$name.ready" 2>"$state/$name.log" </dev/null &
  pids+=($!)
}

# ready NAME waits for that line and puts it into $line.
ready() {
  local name=$1
  exec {fd}<"$state/$name.ready"
  if ! IFS= read -r -t 60 line <&"$fd"; then
    echo "demo: the $name did not get ready; it said:" >&2
    cat "$state/$name.log" >&2
    exit 1
  fi
}

begin hub hub --port 0
ready hub
echo " 1/4 $line"

begin relay relay --ns batch
begin monitor monitor --interval 1s
ready relay
node="$(cut -d' ' -f2 <<<"$line")"
echo " 2/4 $line"
ready monitor
echo " 3/4 $line"

job="$("$hpc" submit --name demo --env HPC_DEMO_TEXT="$text" -- 'echo "$HPC_DEMO_TEXT"' 2>"$state/submit.log" | tail -n 1)" \
  || { cat "$state/submit.log" >&2; exit 1; }
echo " 4/4 job $job submitted to batch; what it writes:"
"$hpc" job log --follow "$job" | sed 's/^/     | /'
ended=0
"$hpc" job wait "$job" >/dev/null || ended=$?
echo " the job, as the Hub knows it:"
"$hpc" job info "$job" | sed 's/^/     /'
echo " the node, as its monitor reports it:"
"$hpc" node info "$node" | sed 's/^/     /'
((ended == 0)) || exit "$ended"

echo " demo ok in $SECONDS s"
if $keep; then
  echo
  echo " It keeps running. Use it:"
  echo "   export HPC_HOME=$state"
  echo "   $hpc run -- hostname"
  echo " Stop it:"
  # The folder goes when the last of them has ended: until then they still write there.
  # In this order, the Hub last: who leaves tells it so.
  echo "   for p in $(printf '%s\n' "${pids[@]}" | tac | tr '\n' ' '); do kill \$p; tail --pid=\$p -f /dev/null; done; rm -r $state"
fi
