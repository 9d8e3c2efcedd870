# Sourced by run: what the official mqadmin prints about our broker.

# expect NAME TEXT COMMAND...: the command's output holds the text (extended regular expression).
expect() {
  local name=$1 text=$2 out; shift 2
  out=$(mqadmin "$@") || true
  if grep --quiet --extended-regexp "$text" <<< "$out"; then pass "$name"; else
    fail "$name" "no '$text' in: $(head --bytes 600 <<< "$out")"; fi
}

mqadmin_checks() { # NAMESRV BROKER_NAME
  local ns=$1 broker=$2 address topic=IT_mqadmin
  address=$(mqadmin clusterList -n "$ns" | awk -v b="$broker" '$2 == b { print $4 }')
  expect "clusterList: name, id, address, version, active" \
    "DefaultCluster +$broker +0 +[0-9.]+:[0-9]+ +V5_5_0 .*true" clusterList -n "$ns"
  expect "clusterList -m: totals" "DefaultCluster +$broker +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+" clusterList -m -n "$ns"
  expect "updateTopic: create" "create topic to .* success" updateTopic -n "$ns" -c DefaultCluster -t "$topic" -r 6 -w 6
  expect "topicList: shows it" "^$topic\$" topicList -n "$ns"
  expect "topicRoute: six queues each way" '"readQueueNums": ?6' topicRoute -n "$ns" -t "$topic"
  expect "topicRoute: the broker's address" "$address" topicRoute -n "$ns" -t "$topic"
  expect "updateTopic: change at one broker" "create topic to $address success" updateTopic -n "$ns" -b "$address" -t "$topic" -r 8 -w 8
  expect "topicRoute: the change has arrived" '"writeQueueNums": ?8' topicRoute -n "$ns" -t "$topic"
  expect "sendMessage: stored" "SEND_OK" sendMessage -n "$ns" -t "$topic" -p hello -k thekey -c TagM
  expect "topicStatus: a queue with one message" "$broker +[0-9]+ +0 +1 " topicStatus -n "$ns" -t "$topic"
  expect "brokerStatus: version" "brokerVersionDesc +: V5_5_0" brokerStatus -n "$ns" -b "$address"
  expect "brokerStatus: every number mqadmin needs" "putTps +: [0-9.]+ [0-9.]+ [0-9.]+" brokerStatus -n "$ns" -c DefaultCluster
  expect "getBrokerConfig" "brokerName += +$broker" getBrokerConfig -n "$ns" -b "$address"
  expect "topicList: after deleteTopic" "delete topic \[$topic\] from NameServer success" deleteTopic -n "$ns" -c DefaultCluster -t "$topic"
}
