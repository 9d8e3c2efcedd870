# Sourced by run: one store, the official broker and ours on it one after the other, clean stops and kill -9.
#
#   official writes A -> stops -> ours serves A, writes B -> stops -> official serves A B, writes C -> stops -> ours serves A B C

dropin_client() { # WHAT NAMESRV ARGS...
  local home=$work/java-dropin out=$work/dropin-$1
  mkdir --parents "$home"
  timeout 300 java -Xmx512m "-Drocketmq.client.logRoot=$home" "-Drocketmq.log.root=$home" "-Duser.home=$home" \
    -cp "$jars/classes-5.5.0:$jars/client-5.5.0/*" interop.Dropin "$@" > "$out" 2> "$out.err" || true
  tally "$out"
}

# As `stop`, but a clean stop of the official broker on a busy machine may take its time.
dropin_stop() { # PID SIGNAL
  kill "-$2" "$1"
  for _ in $(seq 600); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
  stop "$1" "$2"
}

# What is answered is written: what the official broker writes late (transactions, offsets) is not what this is about.
dropin_pause=2

dropin_starts=0

# What both brokers need to check transactions soon; the official one must have written down before that what became of them.
dropin_settings=(transactionCheckInterval=4000 transactionTimeOut=4000 transactionOpBatchInterval=100)

dropin_official() { # NAMESRV PORT STORE
  # Each start is judged by its own log.
  if [ -e "$work/broker-a/logs" ]; then mv "$work/broker-a/logs" "$work/broker-a/logs-$((dropin_starts++))"; fi
  official_broker broker-a "$1" "$2" "$3" "${dropin_settings[@]}"
}

# No line of the official broker's log tells of a cut or of damage.
dropin_official_log() { # TITLE
  local log=$work/broker-a/logs/rocketmqlogs bad
  bad=$(grep --recursive --no-filename --ignore-case --extended-regexp \
    'truncate|found a illegal|CRC|unexpected|dirty|damaged|wrong|recover.*(fail|error)|\[BUG\]' \
    "$log"/store.log "$log"/storeerror.log 2>/dev/null | grep --invert-match --extended-regexp "$dropin_harmless" || true)
  if [ ! -e "$log/store.log" ]; then fail "$1" "the official broker wrote no store.log"; return 0; fi
  if [ -z "$bad" ]; then pass "$1"; else fail "$1" "$(head --lines 5 <<< "$bad")"; fi
}
# The end of the written part of a file has magic 0; a queue that ends exactly where the log does loses nothing.
dropin_harmless='magic code 0x0$|ConsumeQueue\(([0-9]+)\) >= processOffset\(\1\)|checkCRCOnRecover|enabledAppendPropCRC|forceVerifyPropCRC'

dropin_check() { # SIGNAL TITLE
  local signal=$1 title=$2 ns store ledger
  ns=127.0.0.1:$(free_port); store=$work/store-dropin-$signal; ledger=$work/ledger-$signal
  our_namesrv "${ns#*:}"; local ns_pid=$started
  phase "one store, two brokers, $title"
  dropin_official "$ns" "$(free_port)" "$store"
  dropin_client write "$ns" A "$ledger"
  sleep "$dropin_pause"; dropin_stop "$started" "$signal"
  our_broker broker-a "$ns" "$(free_port)" "$store" device=kernel:127.0.0.1 "${dropin_settings[@]}"
  dropin_client read "$ns" "$ledger" "$signal"
  dropin_client write "$ns" B "$ledger"
  sleep "$dropin_pause"; dropin_stop "$started" "$signal"
  dropin_official "$ns" "$(free_port)" "$store"
  dropin_client read "$ns" "$ledger" "$signal"
  dropin_official_log "the official broker's recovery cut nothing ($title)"
  dropin_client write "$ns" C "$ledger"
  sleep "$dropin_pause"; dropin_stop "$started" "$signal"
  our_broker broker-a "$ns" "$(free_port)" "$store" device=kernel:127.0.0.1 "${dropin_settings[@]}"
  dropin_client read "$ns" "$ledger" "$signal"
  stop "$started"; stop "$ns_pid"
  took
}

dropin_checks() {
  dropin_check TERM "clean stops"
  dropin_check KILL "kill -9"
}
