#!/usr/bin/env bash
# Everything that /api/openapi.json says, tried by schemathesis on a running service, without and with a token: no 5xx but a
# documented 503, no undocumented status, type or shape, and sequences of calls as the document links them. Left out are the two
# checks that take a schema for all the rules there are: which steps, sizes and classes a model takes is no matter of schemas,
# and seeds above 2^63, which `format: int64` says do not exist, are fine.
#
#   xtask/checks/schemathesis.sh target/release/undiffuse RUN [EXAMPLES]
#
# RUN is a run or model, best a tiny one. schemathesis comes from PyPI (`pip install schemathesis`); SCHEMATHESIS names it.
set -euo pipefail
program=$1 model=$2 examples=${3:-40}
schemathesis=${SCHEMATHESIS:-schemathesis}
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

check() { # TOKEN [ARGUMENT…]
  local token=$1 port=$((20000 + RANDOM % 20000))
  shift
  env ${token:+"UNDIFFUSE_TOKEN=$token"} "$program" serve "$model" --addr "127.0.0.1:$port" --store "$work/store-$port" --reports "$work/eval" \
    --max-n 8 --max-steps 16 --max-time 20s ${SERVE_ARGS:-} >"$work/log" 2>&1 &
  server=$!
  for _ in $(seq 100); do
    curl -sf "http://127.0.0.1:$port/readyz" >/dev/null && break
    kill -0 "$server" || { cat "$work/log"; exit 1; }
    sleep 0.1
  done
  # A stream of events ends with its job; one that has no job to end it would only end with the service.
  "$schemathesis" run "http://127.0.0.1:$port/api/openapi.json" --seed 7 --max-examples "$examples" --request-timeout 60 \
    --checks all --exclude-checks positive_data_acceptance,negative_data_rejection --continue-on-failure --suppress-health-check all --no-color "$@"
  curl -sf "http://127.0.0.1:$port/healthz" >/dev/null
  if grep -q panicked "$work/log"; then cat "$work/log"; exit 1; fi
  kill "$server"
  wait "$server"
  server=
}

check ""
check "a-token-for-tests" --header "Authorization: Bearer a-token-for-tests"
echo "schemathesis is content"
