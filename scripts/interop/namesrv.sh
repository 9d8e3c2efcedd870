# Sourced by run: what the official broker and mqadmin make of our name server.

namesrv_checks() { # NAMESRV BROKER_NAME
  local ns=$1 broker=$2 topic=IT_namesrv
  expect "clusterList: the official broker" "DefaultCluster +$broker +0 +[0-9.]+:[0-9]+ +V5_5_0" clusterList -n "$ns"
  expect "updateTopic: in the cluster" "create topic to .* success" updateTopic -n "$ns" -c DefaultCluster -t "$topic" -r 4 -w 4
  expect "topicList: shows it" "^$topic\$" topicList -n "$ns"
  expect "topicRoute: readable and writable" '"perm": ?6' topicRoute -n "$ns" -t "$topic"
  expect "topicClusterList" "^DefaultCluster\$" topicClusterList -n "$ns" -t "$topic"
  expect "wipeWritePerm" "wipe write perm of broker\[$broker\] in name server\[$ns\] OK" wipeWritePerm -n "$ns" -b "$broker"
  expect "topicRoute: readable only" '"perm": ?4' topicRoute -n "$ns" -t "$topic"
  expect "addWritePerm" "add write perm of broker\[$broker\] in name server\[$ns\] OK" addWritePerm -n "$ns" -b "$broker"
  expect "topicRoute: writable again" '"perm": ?6' topicRoute -n "$ns" -t "$topic"
  expect "updateKvConfig" "create or update kv config to namespace success" updateKvConfig -n "$ns" -s IT -k key -v value
  expect "deleteKvConfig" "delete kv config from namespace success" deleteKvConfig -n "$ns" -s IT -k key
  expect "updateOrderConf: put" "orderConf=\[$broker:4\]" updateOrderConf -n "$ns" -m put -t "$topic" -v "$broker:4"
  expect "updateOrderConf: get" "orderConf=\[$broker:4\]" updateOrderConf -n "$ns" -m get -t "$topic"
  expect "updateOrderConf: delete" "delete orderConf success" updateOrderConf -n "$ns" -m delete -t "$topic"
  expect "getNamesrvConfig" "listenPort += +${ns#*:}" getNamesrvConfig -n "$ns"
  expect "updateNamesrvConfig" "update name server config success" updateNamesrvConfig -n "$ns" -k orderMessageEnable -v false
  mqadmin updateNamesrvConfig -n "$ns" -k kvConfigPath -v /tmp/elsewhere > /dev/null || true
  expect "getNamesrvConfig: paths stay where they are" "kvConfigPath += +$work/" getNamesrvConfig -n "$ns"
  expect "deleteTopic" "delete topic \[$topic\] from NameServer success" deleteTopic -n "$ns" -c DefaultCluster -t "$topic"
}

# Waits until the broker is listed, or no more. known NAMESRV BROKER_NAME yes|no SECONDS
known() {
  local now until=$((SECONDS + $4))
  while :; do
    now=no; mqadmin clusterList -n "$1" | grep --quiet "$2" && now=yes
    [ "$now" != "$3" ] || return 0
    [ "$SECONDS" -lt "$until" ] || return 1
  done
}

namesrv_restart_checks() { # NAMESRV BROKER_NAME: the name server and broker of $ns_pid and $broker_pid
  stop "$ns_pid" KILL
  our_namesrv "${1#*:}"; ns_pid=$started
  if known "$1" "$2" yes 45; then pass "the broker comes back to a restarted name server"; else
    fail "the broker comes back to a restarted name server"; fi
  stop "$broker_pid" KILL
  if known "$1" "$2" no 5; then pass "a killed broker is gone at once"; else fail "a killed broker is gone at once"; fi
}
