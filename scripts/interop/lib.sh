# Sourced by the scripts beside it: official software fetched once, processes started by pid and ended by pid.
# Nothing here kills by name; everything started is ended by `cleanup`, which the EXIT trap runs.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=$(readlink --canonicalize-missing "${CARGO_TARGET_DIR:-$root/target}")
jars=$target/interop
work=$(mktemp --directory "${TMPDIR:-/tmp}/afterburner-interop.XXXXXX")
pids=()
tap=
passed=0
failed=0
skipped=0

# The official software opens the module system on JDK 16 and later.
opens=(--add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED
  --add-opens=java.base/jdk.internal.ref=ALL-UNNAMED --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED
  --add-exports=java.base/sun.nio.ch=ALL-UNNAMED)

cleanup() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  pids=()
  [ -z "$tap" ] || ip link delete "$tap" 2>/dev/null || true
  if [ "$failed" = 0 ]; then rm --recursive --force "$work"; else echo "logs kept in $work"; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf '%s\n' "$*"; }
pass() { passed=$((passed + 1)); printf '  ok      %s\n' "$1"; }
fail() { failed=$((failed + 1)); printf '  FAILED  %s\n' "$1"; [ $# -lt 2 ] || printf '          %s\n' "$2"; }
skip() { skipped=$((skipped + 1)); printf '  skipped %s: %s\n' "$1" "$2"; }

# fetch POM_DIR DIST [mvn options]: jars of one pom, once.
fetch() {
  local pom=$1 dist=$2; shift 2
  [ -e "$dist/.complete" ] && return 0
  say "fetching the official jars for ${dist##*/} ..."
  mkdir --parents "$dist" "$work/mvn"
  cp "$pom/pom.xml" "$work/mvn/pom.xml"
  mvn --quiet --batch-mode --file "$work/mvn/pom.xml" package "-Ddist=$dist" "$@" > "$work/mvn.log" 2>&1 \
    || { tail --lines 20 "$work/mvn.log"; return 1; }
  touch "$dist/.complete"
}

# free_port: one that nothing has and that the kernel gives nobody meanwhile; nor its neighbours, which a broker takes too (two
# below for VIP channels, one above for HA). None twice in a run.
free_port() {
  python3 - "$work/ports" << 'P'
import fcntl, random, socket, sys

def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True

with open(sys.argv[1], "a+") as taken:
    fcntl.flock(taken, fcntl.LOCK_EX)
    taken.seek(0)
    given = taken.read().split()
    while True:
        port = random.randrange(16_005, 20_000, 10)
        if str(port) not in given and all(is_free(near) for near in (port - 2, port, port + 1)):
            break
    taken.write(f"{port}\n")
print(port)
P
}

# start NAME READY_TEXT SECONDS COMMAND...: runs it in the background and waits for the text in its output.
# Leaves its pid in $started.
start() {
  local name=$1 ready=$2 seconds=$3; shift 3
  : > "$work/$name.out"
  "$@" > "$work/$name.out" 2>&1 < /dev/null &
  started=$!
  pids+=("$started")
  for _ in $(seq $((seconds * 20))); do
    grep --quiet "$ready" "$work/$name.out" && return 0
    kill -0 "$started" 2>/dev/null || break
    sleep 0.05
  done
  say "$name did not say '$ready':"; tail --lines 20 "$work/$name.out"
  return 1
}

# stop PID [SIGNAL]: ends one process that `start` began, and waits for it.
stop() {
  kill "-${2:-TERM}" "$1" || true
  for _ in $(seq 100); do kill -0 "$1" || break; sleep 0.1; done
  kill -KILL "$1" || true
  wait "$1" || true
} 2>/dev/null # The shell's own word on a killed child.

# make_tap NAME HOST_CIDR: a TAP interface of this run, when the host lets us.
make_tap() {
  [ "$(id --user)" = 0 ] && [ -c /dev/net/tun ] && ip tuntap add dev "$1" mode tap 2>/dev/null || return 1
  tap=$1
  ip address add "$2" dev "$1" && ip link set dev "$1" up
}

our_namesrv() { # PORT
  cat > "$work/namesrv-$1.properties" <<P
listenPort=$1
kvConfigPath=$work/namesrv-$1/kvConfig.json
configStorePath=$work/namesrv-$1/namesrv.properties
P
  start "our-namesrv-$1" 'boot success' 5 "$target/release/afterburner-controlplane" -c "$work/namesrv-$1.properties"
}

our_broker() { # NAME NAMESRV PORT STORE DEVICE_LINES...
  local name=$1 namesrv=$2 port=$3 store=$4; shift 4
  mkdir --parents "$store"
  { printf 'brokerClusterName=DefaultCluster\nbrokerName=%s\nnamesrvAddr=%s\nlistenPort=%s\n' "$name" "$namesrv" "$port"
    printf 'storePathRootDir=%s\nhotLogPath=%s\nhotLogBytes=268435456\n' "$store" "$store/hot"
    printf '%s\n' "$@"; } > "$work/$name.properties"
  start "$name" 'boot success' 10 "$target/release/afterburner-dataplane" -c "$work/$name.properties"
}

official() { # CLASS HOME HEAP CONF
  exec java "-Xms$3" "-Xmx$3" -XX:+UseG1GC -XX:MaxDirectMemorySize=1g "${opens[@]}" "-Duser.home=$2" \
    "-Drocketmq.home.dir=$2" -cp "$2:$jars/peers/*" "$1" -c "$4"
}

official_namesrv() { # PORT
  local home=$work/official-namesrv-$1; mkdir --parents "$home"
  printf 'rocketmqHome=%s\nlistenPort=%s\nkvConfigPath=%s/kv.json\nconfigStorePath=%s/namesrv.properties\n' \
    "$home" "$1" "$home" "$home" > "$home/namesrv.properties"
  export ROCKETMQ_HOME=$home
  start "official-namesrv-$1" 'boot success' 60 official org.apache.rocketmq.namesrv.NamesrvStartup "$home" 256m \
    "$home/namesrv.properties"
}

official_broker() { # NAME NAMESRV PORT STORE LINES...
  local home=$work/$1; mkdir --parents "$home" "$4"
  cat > "$home/broker.properties" <<P
rocketmqHome=$home
brokerClusterName=DefaultCluster
brokerName=$1
brokerIP1=127.0.0.1
listenPort=$3
namesrvAddr=$2
storePathRootDir=$4
storePathCommitLog=$4/commitlog
autoCreateTopicEnable=true
waitTimeMillsInSendQueue=20000
P
  printf '%s\n' "${@:5}" >> "$home/broker.properties"
  export ROCKETMQ_HOME=$home
  local java=(official org.apache.rocketmq.broker.BrokerStartup "$home" "${BROKER_HEAP:-1g}" "$home/broker.properties")
  start "$1" 'boot success' 90 "${java[@]}" || return 1
  is_registered "$1" "$2" && return 0
  # Seen once in many runs: it serves and writes its files, and no name server hears of it for minutes.
  say "$1 did not register with $2 within 60 s, and is started again; of its log:"
  grep --recursive --no-filename --ignore-case 'register' "$home/logs" 2>/dev/null | tail --lines 10
  stop "$started" KILL
  start "$1" 'boot success' 90 "${java[@]}" && is_registered "$1" "$2"
}

# is_registered NAME NAMESRV: waits until the name server knows the broker, a minute at most.
is_registered() {
  for _ in $(seq 120); do
    "$target/release/afterburner" cluster --namesrv "$2" 2>/dev/null | grep --quiet --word-regexp "$1" && return 0
    sleep 0.5
  done
  return 1
}

# admin_java SECONDS CLASS ARGUMENTS...: mqadmin's class path, and a silent logging before the broker's, which it would take.
admin_java() {
  local home=$work/mqadmin; mkdir --parents "$home"; cd "$home"
  ROCKETMQ_HOME=$home exec timeout "$1" java -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "${opens[@]}" \
    "-Duser.home=$home" "-Drocketmq.home.dir=$home" -cp "$jars/classes-admin:$here/admin/quiet:$jars/peers/*" "${@:2}"
}

# mqadmin_alone SECONDS COMMAND...: one command as a user runs it, in a JVM of its own that has to end.
mqadmin_alone() { (admin_java "$1" org.apache.rocketmq.tools.command.MQAdminStartup "${@:2}") 2>&1; }

# One JVM for many commands (admin/src/interop/Admin.java): a JVM for each takes seconds.
start_mqadmin() {
  [ ! -e "$work/mqadmin.in" ] || return 0
  local line
  mkfifo "$work/mqadmin.in" "$work/mqadmin.out"
  admin_java 3600 interop.Admin < "$work/mqadmin.in" > "$work/mqadmin.out" 2> "$work/mqadmin.err" &
  pids+=("$!")
  exec 8> "$work/mqadmin.in" 7< "$work/mqadmin.out"
  IFS= read -r -t 60 -u 7 line || { say "mqadmin did not start:"; tail --lines 20 "$work/mqadmin.err"; return 1; }
}

# mqadmin COMMAND...: one command, in the JVM that start_mqadmin has started.
mqadmin() {
  local token=$RANDOM$RANDOM$RANDOM line printing=
  # When it has died, the check fails, not this script.
  (trap '' PIPE; { printf '%s' "$token"; printf '\t%s' "$@"; printf '\n'; } >&8) 2>/dev/null || return 1
  while IFS= read -r -t 60 -u 7 line; do
    case $line in
      "begin $token") printing=1 ;;
      "end $token") return 0 ;;
      *) [ -z "$printing" ] || printf '%s\n' "$line" ;;
    esac
  done
  return 1
}

# begin_client FILE COMMAND...: a client in the background; its lines go to the file.
clients=()
begin_client() {
  local file=$work/$1.client; shift
  "$@" > "$file" 2> "$file.err" < /dev/null &
  clients+=("$! $file"); pids+=("$!")
}

# Waits for the clients that began and shows what they said, in their order.
finish_clients() {
  local each
  for each in "${clients[@]}"; do
    wait "${each%% *}" || true
    tally "${each#* }"
  done
  clients=()
}

# java_client VERSION CODEC NAMESRV TITLE MESSAGES [shipped]: what the client waits for at its own pace takes 40 s; without
# `shipped` a new retry topic is looked for every 2 s.
java_client() {
  local version=$1 options=() home
  [ "$2" != binary ] || options+=(-Drocketmq.serialize.type=ROCKETMQ)
  [ "${6:-}" = shipped ] || options+=(-Drocketmq.client.rebalance.waitInterval=2000)
  shift 2
  home=$work/java-$BASHPID; mkdir --parents "$home"
  exec timeout 600 java -Xmx512m "${options[@]}" "-Drocketmq.client.logRoot=$home" "-Drocketmq.log.root=$home" \
    "-Duser.home=$home" -cp "$jars/classes-$version:$jars/client-$version/*" interop.Main "$@"
}

# rust_client NAMESRV TITLE: the tests of our own library against a live cluster
rust_client() {
  cd "$root"
  AFTERBURNER_TEST_NAMESRV=$1 timeout 600 cargo test --quiet --package afterburner-client --test cluster 2>&1 \
    | sed --regexp-extended "s/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/$2: \\1 passed, \\2 failed/" \
    | grep --invert-match --extended-regexp '^(|\.+|running .*)$'
}

# Shows what a client said and adds its own closing line, 'TITLE: N passed, N failed', to the totals; no such line is a failure.
tally() {
  grep --invert-match --extended-regexp '^(RocketMQLog|log4j|SLF4J)' "$1" || true
  local line; line=$(grep --extended-regexp '[0-9]+ passed, [0-9]+ failed$' "$1" | tail --lines 1) || true
  if [ -z "$line" ]; then
    fail "${1##*/} did not finish"; tail --lines 5 "$1.err"; return 0
  fi
  passed=$((passed + $(sed --regexp-extended 's/.*: ([0-9]+) passed.*/\1/' <<< "$line")))
  failed=$((failed + $(sed --regexp-extended 's/.* ([0-9]+) failed$/\1/' <<< "$line")))
}
